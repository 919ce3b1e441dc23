"""What an earlier start of the same run has completed: it is kept, and the run continues after it.

A run that is killed in its evaluation must not train again. So beside the results of the stages lies
`.completed.json`, which says what made them; it is removed when the run is finished, so a finished run that is started
again begins at its first stage.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from framework.api import records
from framework.api.plan import CHECKPOINT
from framework.api.records import Step, TrainResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Affects, Stage
from framework.evaluate.measure import Measuring
from framework.run.export import fingerprint
from framework.util.hashing import key_of

FILE = ".completed.json"


@dataclass(frozen=True)
class CompletedTraining:
    """A completed training: the folder of its run, a hash of its weights, and its events."""

    folder: Path
    weights: str
    trained: TrainResult
    steps: tuple[Step, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Completed:
    """The complete stages of a run, each with a hash over the settings and rows that made its result.

    Attributes:
        keys: by the name of the stage.
        seconds: how long each of them took.
        weights: a hash over the trained weights.
        steps: of the training, which loggers get again.
        facts: of the machine, with those that only the training has shown.
    """

    keys: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    weights: str = ""
    steps: list[Step] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)


class CompletedStages:
    """Finds what is complete, and notes what this start completes.

    Args:
        measuring: of the run, whose model is not trained yet.
    """

    def __init__(self, measuring: Measuring) -> None:
        self._plan = plan = measuring.plan
        self._file = plan.run_dir / FILE
        rows, training = measuring.data.result.fingerprint, [plan.affecting(Affects.resume), plan.batch]
        base = measuring.base_key
        # Without a key of its base a model has to see the base itself: all its weights will be trained.
        self._keys = {
            Stage.baseline: base,
            Stage.train: key_of(rows, training),
            Stage.evaluate: key_of(rows, training, plan.affecting(Affects.training)),
        }
        self._known = self._load() if Stage.train in plan.stages else Completed()
        self.stages = self._find()
        """The stages that are not run again."""

    def _load(self) -> Completed:
        """Read what an earlier start has noted."""
        try:
            return records.load(Completed, self._file)
        except (OSError, ValueError):  # none, or one of another version
            return Completed()

    def _find(self) -> tuple[Stage, ...]:
        plan, known, folder = self._plan, self._known, RunFolder(self._plan.run_dir)
        found = [
            stage
            for stage, key in self._keys.items()
            if key and stage in plan.stages and known.keys.get(stage.value) == key and folder.file(stage.value).exists()
        ]
        if Stage.train in found and (plan.external_checkpoint or fingerprint(self._weights) != known.weights):
            print(f"{self._weights} has changed since it was trained: the training starts again", file=sys.stderr)
            found.remove(Stage.train)
        if Stage.train not in found:
            found = [stage for stage in found if stage is not Stage.evaluate]
        self._known = replace(known, keys={stage.value: self._keys[stage] for stage in found})
        if found:
            names = ", ".join(stage.value for stage in found)
            print(f"kept, because an earlier start of this run completed it: {names}", file=sys.stderr)
        return tuple(found)

    def training(self) -> CompletedTraining | None:
        """Return the training of this run, where it is complete."""
        trained = RunFolder(self._plan.run_dir).load_result(Stage.train, TrainResult)
        if trained is None or Stage.train not in self.stages:
            return None
        return CompletedTraining(
            self._plan.run_dir, self._known.weights, trained, tuple(self._known.steps), self._known.facts
        )

    def seconds(self) -> dict[str, float]:
        """Return how long the stages took that are kept."""
        return {stage.value: self._known.seconds.get(stage.value, 0.0) for stage in self.stages}

    def note(self, stage: Stage, seconds: Mapping[str, float], done: CompletedTraining | None = None) -> None:
        """Note that a stage is complete and its result saved.

        Args:
            stage: which one.
            seconds: how long each stage took.
            done: the training, where that is the stage.
        """
        if Stage.train not in self._plan.stages or stage in self.stages:
            return
        known = self._known
        if done:
            known = replace(known, weights=done.weights, steps=list(done.steps), facts=dict(done.facts))
        keys = {**known.keys, stage.value: self._keys[stage]}
        self._known = replace(known, keys=keys, seconds={**known.seconds, stage.value: seconds[stage.value]})
        records.save(self._known, self._file)

    @property
    def _weights(self) -> Path:
        return self._plan.run_dir / CHECKPOINT


def forget(run_dir: Path) -> None:
    """Forget what a run has completed: it is finished."""
    (run_dir / FILE).unlink(missing_ok=True)
