"""A logger that fails is switched off and named; the others and the run go on."""

from pathlib import Path

import pytest

from framework import testing
from framework.api.protocols import Logger
from framework.run import pipeline
from framework.run.loggers import Broadcast


class Listener(Logger):
    """Remembers the stages it heard of."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def stage_started(self, stage: str) -> None:
        self.heard.append(stage)


class Raises(Listener):
    """Fails at the second stage."""

    def stage_started(self, stage: str) -> None:
        super().stage_started(stage)
        if len(self.heard) > 1:
            message = "the tracker is gone\nfor good"
            raise ConnectionError(message)


def test_a_logger_that_raises_is_named_once_and_the_others_hear_all(capsys: pytest.CaptureFixture[str]) -> None:
    broken, first, last = Raises(), Listener(), Listener()
    broadcast = Broadcast({})
    broadcast.loggers = {"first": first, "broken": broken, "last": last}
    for stage in ("plan", "data", "train"):
        broadcast.stage_started(stage)
    assert first.heard == last.heard == ["plan", "data", "train"]
    assert broken.heard == ["plan", "data"]
    said = capsys.readouterr().err
    assert said == "logger 'broken' failed and is switched off: ConnectionError: the tracker is gone\n"


def test_an_interrupt_is_not_taken_for_a_failing_logger() -> None:
    class Interrupted(Logger):
        def stage_started(self, stage: str) -> None:
            raise KeyboardInterrupt(stage)

    broadcast = Broadcast({})
    broadcast.loggers = {"console": Interrupted()}
    with pytest.raises(KeyboardInterrupt):
        broadcast.stage_started("train")


def test_a_run_whose_log_cannot_be_written_finishes(
    data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=local_file", f"data.path={data_file}", "logger=[jsonl]", "logger.jsonl.file=no/such/folder.jsonl"]
    assert pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert "logger 'jsonl' failed and is switched off: FileNotFoundError" in capsys.readouterr().err
