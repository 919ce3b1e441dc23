"""The run folder: what a run was made of, and the result of each stage."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from framework.api import records
from framework.api.former_settings import MOVED, renewed_words
from framework.api.plan import Plan
from framework.api.records import Forecast
from framework.api.run_folder import ENVIRONMENT, OVERRIDES, STATUS, RunFolder
from framework.api.schema import Stage
from framework.api.text.overrides import override_key
from framework.config.limits import check_words
from framework.rundir.store import mirror
from framework.util import lock
from framework.util.errors import FrameworkError
from framework.util.files import PART_SUFFIX, read_text, write_atomically

STALE = frozenset({Stage.baseline, Stage.train, Stage.evaluate, Stage.export, Stage.report})
"""Stages whose saved results are dropped when they, or stages that they depend on, run again."""
SCRATCH = ".trainer.part"
"""The folder of what a training only needs meanwhile."""
OVERRIDE = re.compile(r"~|[^-].*=", re.DOTALL)
REMOVED = frozenset({"plan.calibrate", *MOVED})
"""Settings that earlier versions saved, and that nothing reads any more."""
T = TypeVar("T")


class WritableRunFolder(RunFolder):
    """Writes `<stage>.json` too."""

    @classmethod
    def create(cls, plan: Plan, completed: Collection[Stage] = ()) -> WritableRunFolder:
        """Make the folder and write `plan.json` (the resolved config) and `overrides.json` (what made it).

        Args:
            plan: the run.
            completed: stages that an earlier start has completed, whose results stay.
        """
        plan.run_dir.mkdir(parents=True, exist_ok=True)
        folder = cls(plan.run_dir)
        # The export looks itself at what an earlier one made of the same weights.
        spared = {*completed, *([] if Stage.train in {*plan.stages} - {*completed} else [Stage.export])}
        if plan.only_exports:
            spared.add(Stage.report)
        for stage in STALE & {stale for ran in plan.stages for stale in _after(ran)} - spared:
            folder.file(stage.value).unlink(missing_ok=True)
        # A run that adds an export keeps the config that trained the weights.
        if plan.is_new_run or not folder.file("plan").exists():
            # Its overrides mark a folder as a run's (`check_writable`), so they are the first file in it.
            save_overrides(plan.run_dir, plan.overrides)
            write_atomically(folder.file("plan"), json.dumps(plan.config, indent=1) + "\n")
        return folder

    def save(self, stage: Stage, result: T) -> T:
        """Write the result of a stage and return it."""
        records.save(result, self.file(stage.value))
        return result

    def save_forecast(self, forecast: Forecast) -> None:
        """Write `forecast.json`, what the run was expected to need."""
        records.save(forecast, self.file("forecast"))


def _after(stage: Stage) -> set[Stage]:
    """Return the stages whose results a run of `stage` makes out of date, itself included."""
    later = {Stage.train: {Stage.evaluate, Stage.export}}
    return {stage, Stage.report, *later.get(stage, ())} if stage in STALE else set()


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the folder of a run for this process.

    Raises:
        FrameworkError: another process runs there, or the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.folder(run_dir, "set run_dir=FOLDER"))
        except OSError as error:
            raise _unwritable(run_dir, error) from error
        yield


def _unwritable(folder: Path, error: OSError) -> FrameworkError:
    return FrameworkError(f"the run cannot write to {folder}: {error.strerror}. Set run_dir=FOLDER")


def check_writable(folder: Path) -> None:
    """Try to write into `folder`, and remove what was written.

    Raises:
        FrameworkError: it cannot be written, or it holds files that no run made.
    """
    folder = Path(os.path.realpath(folder))  # not `resolve`, which raises for a link that leads to itself
    names = {path.name for path in folder.iterdir()} - {lock.NAME} if folder.is_dir() else set()
    if names and not (folder / OVERRIDES).exists():
        raise FrameworkError(f"run_dir={folder} holds other files: give a new folder, or the folder of an earlier run")
    if names:
        check_kinds(folder)
    # Until the data stage is complete a run leaves nothing on the disk.
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")  # a folder that can be made may still refuse files: a quota, a read-only mount
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        for path in new_folders:
            if path.is_dir():
                path.rmdir()


def check_kinds(folder: Path) -> None:
    """Refuse pipes and devices, which would be waited for, and folders instead of files: a run makes none.

    Raises:
        FrameworkError: names the first.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(PART_SUFFIX)]  # a group of processes has pipes
        for path in (Path(parent, name) for name in files):
            if path.exists() and not path.is_file():
                raise FrameworkError(f"{path} is neither a file nor a folder: remove it, or set another run_dir")
    for name in (*(f"{stage.value}.json" for stage in Stage), STATUS, OVERRIDES, ENVIRONMENT):
        if (folder / name).is_dir():
            raise FrameworkError(f"{folder / name} is a folder, not a file: remove it, or set another run_dir")
    for name in (RunFolder.CHECKPOINT, RunFolder.TRAINING_STATE, SCRATCH):
        if (folder / name).is_file():
            raise FrameworkError(f"{folder / name} is a file, not a folder: remove it, or set another run_dir")


def save_overrides(run_dir: Path, words: Sequence[str]) -> None:
    """Save the overrides of a run as they were typed, secrets too, since `rerun` needs them; for the owner only."""
    write_atomically(run_dir / OVERRIDES, json.dumps(words) + "\n", mode=0o600)


def saved_overrides(run_dir: str) -> list[str]:
    """Return the overrides of an earlier run; none if the folder is new.

    Raises:
        FrameworkError: the file holds something else.
    """
    file = mirror(run_dir) / OVERRIDES
    try:
        words = json.loads(read_text(file))
    except OSError:  # a new folder, or one of which `check_writable` will tell what is wrong
        return []
    except (ValueError, RecursionError) as error:
        raise FrameworkError(
            f"{file} is not valid JSON ({error}): restore the run's overrides, or give another folder"
        ) from error
    return list(check_overrides(words, file))


def check_overrides(words: object, file: Path) -> tuple[str, ...]:
    """Return what `file` holds as the words that they have to be.

    Raises:
        FrameworkError: it is not a list of overrides, or one could not be read in bounded time.
    """
    # An option or a command of the program in it would be obeyed by a resume.
    if isinstance(words, list) and all(isinstance(word, str) and OVERRIDE.match(word) for word in words):
        check_words(words, str(file))
        return tuple(renewed_words([word for word in words if override_key(word) not in REMOVED]))
    raise FrameworkError(
        f"{file} is not what a run writes: it is not a list of overrides. "
        "Restore the run's overrides, or give another folder"
    )
