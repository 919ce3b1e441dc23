"""`python -m framework remove`: runs go with their sizes listed, and nothing else ever goes."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.cli.main import run_command
from framework.util import lock
from tests.framework.cli.commands.test_runs import write

NOW = datetime.now().astimezone()


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return outputs/ with runs that are 1, 10 and 100 days old and a sweep of 20 days, and be beside it."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    for name, days in (("a/new", 1), ("a/old", 10), ("b/older", 100), ("b/sweep/0", 20)):
        write(outputs / name, (NOW - timedelta(days=days)).isoformat())
        (outputs / name / "overrides.json").write_text("[]", encoding="utf-8")
    (outputs / "b" / "sweep" / "multirun.yaml").touch()
    (outputs / "b" / "notes.txt").touch()
    write(tmp_path / "elsewhere" / "run", NOW.isoformat())
    return outputs


def left(outputs: Path) -> list[str]:
    return sorted(str(file.parent.relative_to(outputs)) for file in outputs.rglob("status.json"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["outputs/a/old", "outputs/b/sweep"], ["a/new", "b/older"]),
        (["--older-than", "15"], ["a/new", "a/old"]),
        (["--keep", "1"], ["a/new"]),
        (["--keep", "3", "--older-than", "5"], ["a/new", "a/old", "b/sweep/0"]),
        (["--keep", "9"], ["a/new", "a/old", "b/older", "b/sweep/0"]),
        (["--keep", "0"], []),
    ],
)
def test_what_is_named_or_old_is_removed(
    outputs: Path, words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("remove", [*words, "--yes"]) == 0
    assert left(outputs) == expected
    told = capsys.readouterr().out
    assert ("outputs/b/sweep  0.0 MB" in told) == ("b/sweep/0" not in expected)
    assert (outputs / "b" / "notes.txt").exists()
    assert (outputs.parent / "elsewhere" / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["elsewhere/run"], "elsewhere/run is not below "),
        (["outputs/../elsewhere/run"], "is not below "),
        (["outputs/link"], "outputs/link is not below "),
        (["outputs"], "outputs is not below "),
        (["outputs/a"], "outputs/a is not the folder of a run or a sweep: it holds 2 runs; name them"),
        (["outputs/b/sweep/0"], "outputs/b/sweep/0 is a trial of a sweep: remove the sweep, outputs/b/sweep"),
        (["outputs/none"], "outputs/none: there is no such folder"),
        ([], "give folders of runs, or --older-than DAYS or --keep N"),
        (["outputs/a/new", "--keep", "1"], "give folders of runs, or --older-than DAYS or --keep N"),
        (["--keep", "-1"], "take a number from 0 to 100,000"),
        (["--older-than", "nan"], "take a number from 0 to 100,000"),
        (["--older-than", "1e400"], "take a number from 0 to 100,000"),
    ],
)
def test_what_is_no_run_below_outputs_is_refused(outputs: Path, words: list[str], told: str) -> None:
    (outputs / "link").symlink_to(outputs.parent / "elsewhere" / "run")
    before = left(outputs)
    with pytest.raises(FrameworkError) as refused:
        run_command("remove", [*words, "--yes"])
    assert told in str(refused.value)
    assert left(outputs) == before


def test_a_run_that_a_process_holds_is_kept(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock.folder(outputs / "b" / "sweep" / "0", ""):
        with pytest.raises(FrameworkError, match="outputs/b/sweep: locked by process"):
            run_command("remove", ["outputs/b/sweep", "--yes"])
        assert run_command("remove", ["--keep", "0", "--yes"]) == 0
    assert left(outputs) == ["b/sweep/0"]
    assert "outputs/b/sweep is kept: locked by process" in capsys.readouterr().out


def test_it_asks_first_and_without_a_terminal_needs_yes(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FrameworkError, match=r"1 folder, 0\.0 MB would be removed, and there is no terminal"):
        run_command("remove", ["outputs/a/old"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, expected in (("", True), ("n", True), ("y", False)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert run_command("remove", ["outputs/a/old"]) == 0
        assert (outputs / "a" / "old").exists() is expected
