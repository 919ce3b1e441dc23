"""`python -m framework plan-table`."""

import json
import re

import pytest

from framework import FrameworkError
from framework.cli.commands import PlanTableCommandConfig
from framework.cli.commands.plan_table import PlanTableCommand, lines

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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--jsn"], "unknown option '--jsn'. Did you mean '--json'"),
        (["8"], "unexpected argument '8'. Usage: python -m framework plan-table "),
    ],
)
def test_mistakes_are_reported(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError, match=f"^{re.escape(told)}"):
        COMMAND.main(words)
