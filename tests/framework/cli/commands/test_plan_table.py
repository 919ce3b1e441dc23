"""`python -m framework plan-table`."""

import json
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.cli.commands import PlanTableCommandConfig
from framework.cli.commands.plan_table import PlanTableCommand, lines

TABLE = Path(__file__).parents[2] / "memory" / "peaks.csv"
COMMAND = PlanTableCommand(PlanTableCommandConfig())


def test_the_table_has_the_methods_for_three_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMAND.main([]) == 0
    text = capsys.readouterr().out
    assert [word in text for word in ("7B", "13B", "70B", "QLoRA")] == [True] * 4


def test_the_sizes_are_those_that_people_know() -> None:
    gib = 2**30
    seven = [line.made.reserved / gib for line in lines() if line.model == "7B"]
    assert seven == sorted(seven, reverse=True)
    assert 100 < seven[0] < 140  # 16 bytes a parameter, and more
    assert seven[-1] < 8


def test_json_is_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    COMMAND.main(["--json"])
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert all(row["low_gib"] <= row["reserved_gib"] <= row["high_gib"] for row in rows)


def test_rows_are_predicted_into_a_file_or_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    COMMAND.main(["--rows", str(TABLE)])
    printed = capsys.readouterr().out
    COMMAND.main(["--rows", str(TABLE), str(tmp_path / "out.csv")])
    assert (tmp_path / "out.csv").read_bytes().decode() == printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--row", "x"], "unknown option '--row'. Did you mean '--rows'"),
        (["--rows", "none.csv"], "none.csv: cannot be read"),
        (["--rows", str(TABLE), "no/such/folder.csv"], "no/such/folder.csv cannot be written: No such file"),
    ],
)
def test_mistakes_are_told(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError, match=told):
        COMMAND.main(words)
