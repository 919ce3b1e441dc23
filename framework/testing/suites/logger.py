"""The suite of `logger=`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.api.events import Event, IssueFound, RunFailed
from framework.api.fields import fields
from framework.api.plan import Plan
from framework.api.protocols import Exporter, Logger
from framework.api.records import Artifact, TrainingIssue
from framework.api.schema import Action
from framework.api.selection import Selection
from framework.run import pipeline
from framework.testing.suites.base import ROWS, Rows, Suite, data_words, expect, files
from framework.util.errors import FrameworkError, error_location, summarize_error
from framework.util.redact import SECRET_NAME

if TYPE_CHECKING:
    import pytest

SECRET = "open-sesame-of-the-suite"  # noqa: S105 - planted
ISSUE = TrainingIssue("spike", 2, "the loss jumped to 6.3 from about 0.4", "Look at the rows of this step", Action.warn)


class LoggerSuite(Suite):
    """What every logger has to do. The tests reach no server; a logger that has one works without it."""

    group = "logger"

    def run_events(
        self, folder: Path, *more: str, rows: Rows | None = None, breaks: bool = False, ails: bool = False
    ) -> tuple[Plan, list[str]]:
        """Run and return the names of the events that the logger got, and `close`.

        With `breaks` the export stage fails, with `ails` it sends the logger an issue of the training.

        Raises:
            AssertionError: the logger raised.
        """
        plan = self.plan(folder, *more) if rows is None else self.plan(folder, *more, rows=rows)
        spied = Spied(**_parts(plan.logger[self.option]))
        exporters: dict[str, Selection] = {**plan.exporter}
        if breaks or ails:
            planted = Breaks(**_parts(plan.trainer)) if breaks else Ails(**_parts(plan.trainer), spied=spied)
            exporters = {"planted": planted}
        try:
            pipeline.run(dataclasses.replace(plan, logger={self.option: spied}, exporter=exporters))
        except (FrameworkError, Planted):
            if rows is None and not breaks:
                raise
        (spy,) = spied.spies
        expect(not spy.errors, f"the logger raises in {'; '.join(spy.errors)}")
        expect(spy.calls[-1:] == ["close"], f"close comes last, the calls were {spy.calls}")
        opened = _open_files(folder)
        expect(not opened, f"open after close: {', '.join(opened)}")
        return plan, spy.calls

    def test_a_whole_run_is_logged_without_an_error(self, tmp_path: Path) -> None:
        """Every event comes in its order, and nothing stays open."""
        _, calls = self.run_events(tmp_path)
        expected = {"RunPlanned", "RunStarted", "StageFinished", "TrainingStep", "RunFinished"}
        expect(expected <= set(calls), f"the calls were {calls}")

    def test_a_part_of_the_stages_is_logged_without_an_error(self, tmp_path: Path) -> None:
        """`RunFinished` of a run without a report has none."""
        _, calls = self.run_events(tmp_path, "stages=[data,train]")
        expect(calls[-2:] == ["RunFinished", "close"], f"the calls were {calls}")

    def test_a_run_whose_data_are_refused_leaves_nothing(self, tmp_path: Path) -> None:
        """`RunFailed` and `close` come without `RunStarted`, and not a file is written."""
        # Found after all rows are read; bad rows are found before a logger receives anything.
        plan, calls = self.run_events(tmp_path, "trainer.max_seq_length=1", "data.overflow=drop", rows=ROWS)
        expect("RunFailed" in calls and "RunStarted" not in calls, f"the calls were {calls}")
        expect(not plan.run_dir.exists(), f"the refused run left {[path.name for path in plan.run_dir.glob('*')]}")

    def test_a_run_that_fails_halfway_is_logged_without_an_error(self, tmp_path: Path) -> None:
        """`RunFailed` and `close` come after the training."""
        _, calls = self.run_events(tmp_path, breaks=True)
        expect({"RunStarted", "TrainingStep", "RunFailed"} <= set(calls), f"the calls were {calls}")

    def test_a_continued_run_folder_is_logged_without_an_error(self, tmp_path: Path) -> None:
        """Another logger of the same folder receives the remaining stages, and then all of them again."""
        self.run_events(tmp_path, "stages=[data,baseline,train]")
        _, calls = self.run_events(tmp_path, "stages=[evaluate,report]")
        expect("RunFinished" in calls and "TrainingStep" not in calls, f"the calls were {calls}")
        _, calls = self.run_events(tmp_path)
        expect({"TrainingStep", "RunFinished"} <= set(calls), f"the calls were {calls}")

    def test_validations_are_logged_with_their_steps(self, tmp_path: Path) -> None:
        """The last entry of a training that stops between two validations is sent again with one."""
        words = ["trainer.max_steps=6", "trainer.eval_steps=2", "trainer.early_stopping_metric=exact_match"]
        _, calls = self.run_events(tmp_path, *words, "trainer.losses=[1,1,nan]")
        again = 4  # it ends at step 3
        expect(calls.count("TrainingStep") == again, f"the calls were {calls}")

    def test_numbers_that_are_nan_or_infinite_are_logged_without_an_error(self, tmp_path: Path) -> None:
        """A loss and a gradient may be nan or infinite."""
        words = ["trainer.losses=[1,nan,inf]", "trainer.grad_norms=[inf,nan]", "health.nan=warn"]
        _, calls = self.run_events(tmp_path, "trainer.max_steps=3", *words)
        expect({"IssueFound", "RunFinished"} <= set(calls), f"the calls were {calls}")

    def test_a_refused_plan_is_logged_without_an_error(self, tmp_path: Path) -> None:
        """`RunFailed` and `close` come without `RunPlanned`, if the run cannot write to its folder."""
        logger = self.create(tmp_path)
        logger.log(RunFailed(Planted("refused")))
        logger.close()

    def test_an_event_that_is_not_known_is_ignored(self, tmp_path: Path) -> None:
        """A later version of the framework may send more events."""
        logger = self.create(tmp_path)
        try:
            logger.log(Unknown())
        except Exception as error:
            raise AssertionError(
                f"an event that it does not know makes it raise {summarize_error(error)}{error_location(error)}"
            ) from error
        finally:
            logger.close()

    def test_an_issue_of_the_training_is_logged_without_an_error(self, tmp_path: Path) -> None:
        """`IssueFound` comes after the steps, before the run ends."""
        _, calls = self.run_events(tmp_path, ails=True)
        expect(calls.count("IssueFound") == 1, f"the calls were {calls}")

    def test_a_plan_alone_writes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With `stages=[plan]` the run folder holds only the plan, and the working folder nothing."""
        working_dir = tmp_path / "here"
        working_dir.mkdir()
        monkeypatch.chdir(working_dir)
        plan, _ = self.run_events(tmp_path, "stages=[plan]")
        leftovers = sorted({*_names(plan.run_dir), *_names(working_dir)} - _names(_without(plan, tmp_path)))
        expect(not leftovers, f"written: {', '.join(leftovers)}")

    def test_no_secret_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret is in no file of the logger: one of the environment, wherever it turns up.

        It turns up in the config, in the path of the data, in a field of the logger with a telling name, in the error
        of a run that fails.
        """
        working_dir = tmp_path / "here"
        working_dir.mkdir()
        monkeypatch.chdir(working_dir)
        monkeypatch.setenv("FRAMEWORK_SUITE_TOKEN", SECRET)
        schema = self.choice(tmp_path).component.schema
        telling = [field.name for field in fields(schema) if SECRET_NAME.search(field.name) and field.type.base is str]
        words = [f"logger.{self.option}.{name}={SECRET}" for name in telling]
        words += data_words(tmp_path / SECRET, ROWS)
        self.run_events(tmp_path, f"name={SECRET}", *words)
        plan, _ = self.run_events(tmp_path, f"name={SECRET}", *words, breaks=True)
        names = _names(plan.run_dir) - _names(_without(plan, tmp_path))
        for file in [*(plan.run_dir / name for name in sorted(names)), *files(working_dir)]:
            expect(SECRET.encode() not in file.read_bytes(), f"{file.relative_to(tmp_path)} holds a secret")

    def test_two_runs_in_one_process_are_both_logged(self, tmp_path: Path) -> None:
        """The second run sends the same events as the first and leaves as many files."""
        runs = [self.run_events(tmp_path / name) for name in ("one", "two")]
        expect(runs[0][1] == runs[1][1], "the second run sent other events")
        written = [len(list(files(plan.run_dir))) for plan, _ in runs]
        expect(written[0] == written[1], f"the first run left {written[0]} files, the second {written[1]}")


class Unknown(Event):
    """An event of a later version."""


class Spy(Logger):
    """A logger in front of another one: notes what is called and what that raises."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.calls: list[str] = []
        self.errors: list[str] = []

    def log(self, event: Event) -> None:
        """Pass the event on."""
        self._call(type(event).__name__, lambda: self.logger.log(event))

    def close(self) -> None:
        """Pass the call on."""
        self._call("close", self.logger.close)

    def _call(self, name: str, call: Callable[[], Any]) -> None:
        self.calls.append(name)
        try:
            call()
        except Exception as error:
            self.errors.append(f"{name}: {summarize_error(error)}{error_location(error)}")
            raise


@dataclasses.dataclass(frozen=True)
class Spied(Selection):
    """The option under test, behind a `Spy`."""

    spies: list[Spy] = dataclasses.field(default_factory=list)

    def create(self) -> Spy:
        """Make the logger and the spy before it."""
        self.spies.append(Spy(super().create()))
        return self.spies[-1]


class Planted(Exception):  # noqa: N818 - no error of anyone's
    """The failure of a run that is meant to fail."""


class Breaks(Selection, Exporter):
    """An exporter that fails."""

    def create(self) -> Breaks:
        """Nothing has to be made."""
        return self

    def export(self, *_: Any) -> list[Artifact]:
        """Fail."""
        raise Planted(f"failed with {SECRET}")


@dataclasses.dataclass(frozen=True)
class Ails(Selection, Exporter):
    """An exporter that sends an issue of the training: how a training has one, each backend knows for itself."""

    spied: Spied | None = None

    def create(self) -> Ails:
        """Nothing has to be made."""
        return self

    def export(self, *_: Any) -> list[Artifact]:
        """Tell the logger."""
        if self.spied is not None:
            with contextlib.suppress(Exception):  # the spy keeps it
                self.spied.spies[0].log(IssueFound(ISSUE))
        return []


def _parts(choice: Selection) -> dict[str, Any]:
    return {"component": choice.component, "config": choice.config}


def _names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in files(folder)}


def _without(plan: Plan, folder: Path) -> Path:
    """Run the plan once more without a logger and return its folder: it holds what the run itself writes."""
    run_dir = folder / "without"
    pipeline.run(dataclasses.replace(plan, logger={}, run_dir=run_dir))
    return run_dir


def _open_files(folder: Path) -> list[str]:
    """Return files below `folder` that this process has open, if the system tells."""
    links = [link for link in Path("/proc/self/fd").glob("*") if link.is_symlink()]
    opened = {link.readlink() for link in links if link.exists()}
    return sorted(str(path.relative_to(folder)) for path in opened if path.is_relative_to(folder))
