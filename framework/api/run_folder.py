"""What a run left in its folder, as read by resumed loggers, by exporters, and by sweeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from framework.api import records
from framework.api.schema import Stage
from framework.util.errors import FrameworkError

__all__ = [
    "FAILED",
    "FINISHED",
    "INTERRUPTED",
    "OVERRIDES",
    "PASSED_OVER",
    "PRUNED",
    "RUNNING",
    "TRAINING_STATE",
    "RunFolder",
    "SavedRun",
    "is_resumed",
]

PLAN, OVERRIDES, STATUS, ENVIRONMENT = "plan.json", "overrides.json", "status.json", "environment.json"
REPORT = "report.json"
TRAINING_STATE = ".resume"
"""Where a backend saves the state of an unfinished training, a folder for each checkpoint."""
INTERRUPTED = "interrupted"
"""The state of a run that a signal ended."""
RUNNING, FINISHED, FAILED, PASSED_OVER, PRUNED = "running", "finished", "failed", "passed over", "pruned"
"""The other states of a run in `status.json`; one whose process was killed stays `running`."""
T = TypeVar("T")


class RunFolder:
    """Reads `<stage>.json` and `status.json`."""

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
        return self._load(stage.value, kind)

    def status(self) -> Mapping[str, Any]:
        """Return `status.json` as plain values; empty if there is none."""
        status: Mapping[str, Any] = read_plain(self.path / STATUS) or {}
        return status

    @property
    def is_complete(self) -> bool:
        """Whether the run needs no more work: it finished, or a sweep pruned it."""
        return self.status().get("state") in {FINISHED, PRUNED}

    @property
    def objective(self) -> float | None:
        """The value of the run's objective; None if there is no report, or no value in it."""
        objective = (read_plain(self.path / REPORT) or {}).get("objective") or {}
        value: float | None = objective.get("value")
        return value

    def _load(self, name: str, kind: type[T]) -> T | None:
        if not self.file(name).exists():
            return None
        try:
            return records.load(kind, self.file(name))
        except ValueError as error:
            raise FrameworkError(f"{error}: delete it, or run the stage '{name}' again in another run_dir") from error


@dataclass(frozen=True)
class SavedRun:
    """A run folder with its resolved config and its overrides."""

    folder: Path
    config: Mapping[str, Any]
    overrides: tuple[str, ...]

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
        file = self.folder / name
        try:
            return records.load(kind, file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FrameworkError(f"{file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise FrameworkError(str(error)) from error


def read_plain(file: Path) -> Any:
    """Return the content of a JSON file; None if there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def is_resumed(job: DictConfig) -> bool:
    """Whether a job, by Hydra's config, belongs to a resumed sweep."""
    return bool(OmegaConf.select(job, "callbacks.sweep_folder.resume"))
