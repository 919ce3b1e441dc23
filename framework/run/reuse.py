"""What is not done again: what an earlier start of the same run has completed, or another trial of its sweep.

A run that is killed in its evaluation must not train again. So beside the results of the stages lies
`.completed.json`, which says what made them; it is removed when the run is finished, so a finished run that is started
again begins at its first stage.

Of the trials of a sweep with the same training the first trains, the others reuse its weights and measures. Exporters
and loggers do not change the result of a training, so trials that differ only in them are one training. Trials in other
processes are not known here, and a model without a `base_key` always trains.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from framework.api import records
from framework.api.plan import Plan
from framework.api.protocols import RemoteTrainer
from framework.api.records import EvalResult, Step, TrainResult
from framework.api.run_folder import RunFolder
from framework.api.schema import Affects, Stage
from framework.evaluate.measure import Measuring
from framework.run.export import fingerprint
from framework.run.training import TrainingController
from framework.util.errors import FrameworkError, summarize_error
from framework.util.files import atomic_folder
from framework.util.hashing import key_of

COMPLETED_FILE = ".completed.json"
MAX_TRAININGS = 64
"""Trainings that are remembered at most, each with its steps, which later trials tell their loggers."""


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
        self._file = plan.run_dir / COMPLETED_FILE
        rows, training = measuring.data.result.fingerprint, [plan.affecting(Affects.resume), plan.batch]
        base = measuring.base_key
        # Without a key of its base a model has to see the base itself: all its weights will be trained.
        self._keys = {
            Stage.baseline: key_of(base, measuring.start_key) if base else "",
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
        plan, completed, folder = self._plan, self._known, RunFolder(self._plan.run_dir)
        stages = [
            stage
            for stage, key in self._keys.items()
            if key
            and stage in plan.stages
            and completed.keys.get(stage.value) == key
            and folder.file(stage.value).exists()
        ]
        if Stage.train in stages and (plan.external_checkpoint or fingerprint(self._weights) != completed.weights):
            print(f"{self._weights} has changed since it was trained: the training starts again", file=sys.stderr)
            stages.remove(Stage.train)
        if Stage.train not in stages:
            stages = [stage for stage in stages if stage is not Stage.evaluate]
        self._known = replace(completed, keys={stage.value: self._keys[stage] for stage in stages})
        if stages:
            names = ", ".join(stage.value for stage in stages)
            print(f"kept, because an earlier start of this run completed it: {names}", file=sys.stderr)
        return tuple(stages)

    def training(self) -> CompletedTraining | None:
        """Return the training of this run, if it is complete."""
        trained = RunFolder(self._plan.run_dir).load_result(Stage.train, TrainResult)
        if trained is None or Stage.train not in self.stages:
            return None
        return CompletedTraining(
            self._plan.run_dir, self._known.weights, trained, tuple(self._known.steps), self._known.facts
        )

    def seconds(self) -> dict[str, float]:
        """Return how long the stages took that are kept."""
        return {stage.value: self._known.seconds.get(stage.value, 0.0) for stage in self.stages}

    def note(self, stage: Stage, seconds: Mapping[str, float], training: CompletedTraining | None = None) -> None:
        """Note that a stage is complete and its result saved.

        Args:
            stage: which one.
            seconds: how long each stage took.
            training: the training, if that is the stage.
        """
        if Stage.train not in self._plan.stages or stage in self.stages:
            return
        completed = self._known
        if training:
            completed = replace(
                completed, weights=training.weights, steps=list(training.steps), facts=dict(training.facts)
            )
        keys = {**completed.keys, stage.value: self._keys[stage]}
        self._known = replace(completed, keys=keys, seconds={**completed.seconds, stage.value: seconds[stage.value]})
        records.save(self._known, self._file)

    @property
    def _weights(self) -> Path:
        return self._plan.run_dir / RunFolder.CHECKPOINT


def earlier_answers_at_once(plan: Plan) -> int | None:
    """Return how many answers the run made at once that this one continues; None if there is none, or it is unknown."""
    folder = RunFolder(plan.run_dir)
    unfinished = any((plan.run_dir / name).exists() for name in (RunFolder.TRAINING_STATE, COMPLETED_FILE))
    if plan.is_new_run and not unfinished:
        return None
    try:
        number = json.loads(folder.file("plan").read_text(encoding="utf-8"))["trainer"]["answers_at_once"]
    except (OSError, ValueError, KeyError, TypeError):  # of a version that did not choose it
        return None
    return number if isinstance(number, int) and number > 0 else None


def forget(run_dir: Path) -> None:
    """Forget what a run has completed: it is finished."""
    (run_dir / COMPLETED_FILE).unlink(missing_ok=True)


class TrainingReuse:
    """Checks whether an earlier trial of the sweep has trained and measured what this one would.

    Args:
        measuring: of this trial, whose model is not trained yet.
        own_training: what an earlier start of this run has trained.
    """

    def __init__(self, measuring: Measuring, own_training: CompletedTraining | None = None) -> None:
        self._measuring = measuring
        self._own = own_training
        self._plan = plan = measuring.plan
        shared = measuring.session.shared
        model, data = measuring.model, measuring.data.result
        base = model.base_key
        settings = plan.affecting(Affects.training)
        # An empty key is never kept: outside a sweep, and for a model without a key, every run trains.
        self._key = key_of(base, data.fingerprint, settings) if base and shared.is_open else ""
        # One entry of the shared cache, since it keeps one value for each kind: a dict of all trainings.
        self._known: dict[str, CompletedTraining] = shared.get_or_make("trained", "by settings", dict)
        self._done = own_training or self._find()

    def _find(self) -> CompletedTraining | None:
        training = self._known.get(self._key)
        # A trial that is run again into its own folder replaces the weights that it would copy.
        if training is None or training.folder == self._plan.run_dir:
            return None
        # The files count, not what was noted of them: they may have been removed or replaced since.
        return training if fingerprint(training.folder / RunFolder.CHECKPOINT) == training.weights else None

    def train(self, controller: TrainingController, scratch: Path, remote_trainer: RemoteTrainer | None) -> TrainResult:
        """Train, or copy the weights of the trial that did and send its steps.

        Args:
            controller: of the training.
            scratch: for what the training writes meanwhile.
            remote_trainer: trains instead of this process.

        Raises:
            FrameworkError: the weights of the other trial do not fit here.
        """
        if self._done is None:
            trained = controller.train(self._plan.checkpoint, scratch, remote_trainer)
            self.completed = self._remember(trained, controller.steps)
            return trained
        self.completed = self._done
        # The steps first: by them the sweep may prune this trial too, and then nothing is copied.
        steps = self._done.steps
        if self._own:  # an earlier process of this run made and printed them
            steps = tuple(replace(step, repeated=True) for step in steps)
        controller.replay(self._done.trained, steps)
        shutil.rmtree(scratch, ignore_errors=True)
        if self._own:
            self._measuring.model.restore(self._plan.checkpoint)
            self._remember(self._own.trained, self._own.steps)
            return self._own.trained
        _copy(self._done.folder / RunFolder.CHECKPOINT, self._plan.checkpoint)
        self._measuring.model.restore(self._plan.checkpoint)
        return replace(self._done.trained, taken_from=os.path.relpath(self._done.folder, self._plan.run_dir))

    def _remember(self, trained: TrainResult, steps: Sequence[Step]) -> CompletedTraining:
        """Return a training as it is kept for later trials, and for a later start of this run."""
        plan = self._plan
        training = CompletedTraining(
            plan.run_dir, fingerprint(plan.checkpoint), trained, tuple(steps), dict(self.facts)
        )
        if not self._key:
            return training
        while len(self._known) >= MAX_TRAININGS:
            # A dict keeps the order of insertion: this is the oldest.
            del self._known[next(iter(self._known))]
        self._known[self._key] = training
        return training

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts about the machine and the training method, with those that only the training has shown."""
        return {**self._measuring.model.facts, **(self._done.facts if self._done else {})}

    def measure(self, before: EvalResult | None) -> EvalResult:
        """Measure what was trained, or return the result of the trial whose weights it has.

        What could not be measured there, without a server for example, may be measured here.
        """
        theirs = RunFolder(self._done.folder) if self._done else None
        try:
            after = theirs.load_result(Stage.evaluate, EvalResult) if theirs else None
        except FrameworkError:  # somebody has damaged it
            after = None
        if after is None or (self._measuring.selecting and not after.selection):
            return self._measuring.trained(before)
        # A note says what could not be measured by the other trial; here it may be possible.
        return after if self._own or not after.notes else self._measuring.trained(before)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder, atomically; it replaces an existing one."""
    try:
        with atomic_folder(target, replace=True) as half:
            shutil.copytree(source, half, dirs_exist_ok=True)
    except OSError as error:
        reason = error.strerror or summarize_error(error)
        raise FrameworkError(
            f"the weights of {source} were not copied to {target}: {reason}. Set hydra.sweep.dir=FOLDER"
        ) from error
