"""A disk that takes no more, at each write of a run in turn."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.run import pipeline
from framework.util.command import this_program


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    return ["data=local_file", f"data.path={write_rows(rows[:8])}", "logger=[jsonl,html]", "evaluator=[]", "audit=[]"]


class Disk:
    """Counts what is written to the disk, and refuses one of the writes.

    Args:
        full: the number of the write that is refused; None for none.
        number: the error.
    """

    def __init__(self, full: int | None, number: int) -> None:
        self.full = full
        self.number = number
        self.count = 0
        self.sync = os.fsync

    def __call__(self, opened: int) -> None:
        self.count += 1
        if self.count == self.full:
            raise OSError(self.number, os.strerror(self.number))
        self.sync(opened)


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 9], ids=["each", "every ninth"])
def test_a_write_that_is_refused_ends_the_run_in_words_or_is_done_without(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache" / "straight"))
    whole = Disk(None, 0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", whole)
        straight = pipeline.run(testing.plan(words, run_dir=tmp_path / "straight"))
    assert whole.count > 10
    ended = 0
    for full in range(1, whole.count + 1, stride):
        folder = tmp_path / str(full)
        monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache" / str(full)))  # an empty one: it is written too
        disk = Disk(full, (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)[full % 4])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", disk)
            try:
                pipeline.run(testing.plan(words, run_dir=folder))
            except FrameworkError as error:
                ended += 1
                first, *second = str(error).split("\n")
                assert os.strerror(disk.number) in first
                ways = (f"continue with: {this_program()} resume {folder}", "set run_dir=FOLDER on another disk")
                cache = first.endswith("Set FRAMEWORK_CACHE=FOLDER") and not second
                assert cache or second[0].endswith(ways)
                if (folder / "status.json").exists():
                    status: dict[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf-8"))
                    assert status["state"] == "failed"
        assert not [*folder.rglob("*.part"), *(tmp_path / "cache").rglob(".part*")]
        assert disk.count >= full
    assert ended
    again = pipeline.run(testing.plan(words, run_dir=tmp_path / "1"))
    assert straight is not None
    assert again is not None
    assert again.metrics == straight.metrics


def test_the_status_is_written_where_no_new_file_fits(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = False

    def train(*_: Any) -> Any:
        nonlocal full
        full = True
        raise OSError(errno.ENOSPC, "No space left on device")

    def sync(_: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(testing.EchoModel, "train", train)
    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(FrameworkError, match=r"No space left on device \([\d,.]+ MB are free there\)\nMake room there"):
        pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
    status = json.loads((tmp_path / "run" / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["error"][:15]) == ("failed", f"{tmp_path}"[:15])
