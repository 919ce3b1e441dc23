"""What a run left in its folder, as read by resumed loggers, by exporters, and by sweeps."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from framework.api import records
from framework.api.schema import Stage
from framework.api.selection import as_plain
from framework.util.errors import FrameworkError
from framework.util.files import read_text
from framework.util.hashing import file_sha256

__all__ = [
    "FAILED",
    "FINISHED",
    "INTERRUPTED",
    "OVERRIDES",
    "PASSED_OVER",
    "PRUNED",
    "RUNNING",
    "RunFolder",
    "SavedRun",
    "check_weights",
    "is_resumed",
]

PLAN, OVERRIDES, STATUS, ENVIRONMENT = "plan.json", "overrides.json", "status.json", "environment.json"
REPORT = "report.json"
INTERRUPTED = "interrupted"
"""The state of a run that a signal ended."""
RUNNING, FINISHED, FAILED, PASSED_OVER, PRUNED = "running", "finished", "failed", "passed over", "pruned"
"""The other states of a run in `status.json`; one whose process was killed stays `running`."""
MEND = "Restore it, or delete it"
"""What helps against a damaged file of a run."""
T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """How far a run got, as `status.json`. It stays `running` where the process was killed.

    `state` is running, finished, failed, interrupted by a signal, passed over because the run does not fit, or pruned
    by a sweep; `stage` the one that failed, else the last completed one; `seconds` those of each of this call. One
    more export of a finished run leaves it finished.
    """

    state: str
    stage: str | None = None
    started: str = ""
    finished: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class RunFolder:
    """Reads `<stage>.json` and `status.json`."""

    CHECKPOINT = "checkpoint"
    TRAINING_STATE = ".resume"
    """Where a backend saves the state of an unfinished training, a folder for each checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, stage: str) -> Path:
        """Return the file with the result of a stage."""
        return self.path / f"{stage}.json"

    def load_result(self, stage: Stage, kind: type[T]) -> T | None:
        """Return the result that an earlier run left, if there is one.

        Raises:
            FrameworkError: the file cannot be read.
        """
        return self.read(kind, f"{stage.value}.json")

    def status(self) -> Mapping[str, Any]:
        """Return `status.json` as plain values; empty if there is none.

        Raises:
            FrameworkError: it cannot be read.
        """
        status = self.read(Status, STATUS)
        return as_plain(status) if status else {}

    @property
    def is_given_up(self) -> bool:
        """Whether a sweep passed over the run or pruned it."""
        return self.status().get("state") in {PASSED_OVER, PRUNED}

    @property
    def is_complete(self) -> bool:
        """Whether the run needs no more work: it finished, or a sweep pruned it."""
        return self.status().get("state") in {FINISHED, PRUNED}

    @property
    def objective(self) -> float | None:
        """The value of the run's objective; None if there is no report, or no value in it."""
        value: float | None = part(read_plain(self.path / REPORT), int | float, "objective", "value")
        return value

    @property
    def aim(self) -> tuple[str, bool] | None:
        """The name of the run's objective, and whether a higher value is better; None if there is no report."""
        report = read_plain(self.path / REPORT)
        name, higher = part(report, str, "objective", "name"), part(report, bool, "objective", "higher_is_better")
        return None if name is None or higher is None else (name, higher)

    def read(self, kind: type[T], name: str) -> T | None:
        """Return the record in a file of the folder; None if there is no such file.

        Raises:
            FrameworkError: the file cannot be read.
        """
        file = self.path / name
        try:
            return records.load(kind, file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise FrameworkError(f"{file} cannot be read: {error.strerror}. {MEND}") from error
        except ValueError as error:
            raise FrameworkError(f"{error}. {MEND}") from error


def check_weights(folder: Path) -> None:
    """Compare the trained weights of a run with the hashes that its training recorded; others are not compared.

    Raises:
        FrameworkError: a file has changed since.
    """
    try:
        trained = RunFolder(folder.parent).load_result(Stage.train, records.TrainResult)
    except FrameworkError:  # of another version, or damaged
        trained = None
    for name, digest in trained.files.items() if trained and folder.name == RunFolder.CHECKPOINT else ():
        actual = file_sha256(file) if (file := folder / name).is_file() else "missing"
        if actual != digest:
            raise FrameworkError(
                f"{file} is not what its training wrote: the SHA-256 was {digest[:12]} then, and is {actual[:12]} now. "
                f"Restore it from a backup, or train again; to use it as it is, copy {folder} to another place"
            )


@dataclass(frozen=True)
class SavedRun:
    """A run folder with its resolved config and its overrides.

    `options` are those in groups that are younger than the run; `environment.json` has the others.
    """

    folder: Path
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    def system_prompt(self) -> str:
        """Return the system prompt that most training rows had; empty if they had none.

        Raises:
            FrameworkError: a file of the run cannot be read.
        """
        data = self.record(records.DataResult, "data.json")
        # Without a record of the rows, or if few have a prompt of their own, they were given the config's.
        return (data.system_prompt if data else "") or self.config.get("format", {}).get("system_prompt") or ""

    def record(self, kind: type[T], name: str) -> T | None:
        """Return a record of the folder, None if the run did not get that far.

        Raises:
            FrameworkError: the file cannot be read.
        """
        return RunFolder(self.folder).read(kind, name)


def read_plain(file: Path, *, damaged: Any = ...) -> Any:
    """Return the content of a JSON file; None if there is no such file, and `damaged`, if given, if it is damaged.

    Raises:
        FrameworkError: it cannot be read.
    """
    try:
        return json.loads(read_text(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if damaged is not ...:
            return damaged
        what = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else f"is not valid JSON ({error})"
        raise FrameworkError(f"{file} {what}. {MEND}") from error


def part(value: Any, kind: type | UnionType, *keys: str) -> Any:
    """Return what JSON values hold below these keys; None if there is nothing, or something of another kind."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, kind) else None


def is_resumed(job: DictConfig) -> bool:
    """Whether a job, by Hydra's config, belongs to a resumed sweep."""
    return bool(OmegaConf.select(job, "callbacks.sweep_folder.resume"))
