"""Points of a sweep that train alike: the first of them does, the others take its weights and what it measured.

Exporters and loggers see what was learned and change nothing in it, so points that differ in nothing else are one
training. Points in other processes are not known here, and a model whose base is its own each time is never alike. Nor
is one that several machines train: the others do not know what the first has trained before, and would wait for it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from framework import shelf
from framework.evaluation import Measuring
from framework.exports import fingerprint
from framework.folder import RunFolder
from framework.health.course import Course
from framework.plan import CHECKPOINT
from framework.protocols import Elsewhere
from framework.records import EvalResult, Nulls, Step, TrainResult
from framework.schema import Stage

APART = frozenset(("exporter", "logger", "name", "objective", "run_dir"))
"""Parts of the config on which neither training nor evaluation depends."""
LIMIT = 64
"""Trainings that are remembered; of each its steps are, for the loggers of those that follow."""


@dataclass(frozen=True)
class Done:
    """A training that is through: the folder of its point, a hash of its weights, its result, and its steps."""

    folder: Path
    weights: str
    trained: TrainResult
    steps: tuple[Step, ...]


class Alike:
    """Looks whether an earlier point of the sweep has trained and measured what this one would.

    Args:
        measuring: what this point measures its model by, which is not trained yet.
    """

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        self._plan = plan = measuring.plan
        model, found = measuring.model, measuring.data.result
        group = plan.launch.config.group()
        base = "" if group and group.machines > 1 else getattr(model, "base_key", "")
        settings = {name: value for name, value in plan.config.items() if name not in APART}
        single = (plan.model, plan.quantization, plan.adapter, plan.data, plan.format, plan.trainer, plan.launch)
        several = (*plan.audit.values(), *plan.metric.values(), *plan.evaluator.values())
        options = [choice.component.name for choice in (*single, *several)]
        self._key = shelf.key_of(base, found.fingerprint, options, settings) if base else ""
        self._known: dict[str, Done] = shelf.shared("trained", "by settings", dict)
        self._done = self._find()

    def _find(self) -> Done | None:
        done = self._known.get(self._key)
        if done is None or done.folder == self._plan.run_dir:
            return None
        return done if fingerprint(done.folder / CHECKPOINT) == done.weights else None

    def train(self, course: Course, scratch: Path, elsewhere: Elsewhere | None) -> TrainResult:
        """Train, or put the weights of the point that did into place and tell of its steps.

        Args:
            course: of the training.
            scratch: for what the training writes meanwhile.
            elsewhere: trains in the place of this process.
        """
        if self._done is None:
            trained = course.train(self._plan.checkpoint, scratch, elsewhere)
            self._keep(Done(self._plan.run_dir, fingerprint(self._plan.checkpoint), trained, tuple(course.told)))
            return trained
        course.retell(self._done.trained, self._done.steps)
        half = self._plan.checkpoint.with_name(f"{CHECKPOINT}.part")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(self._done.folder / CHECKPOINT, half)
        shutil.rmtree(self._plan.checkpoint, ignore_errors=True)
        half.rename(self._plan.checkpoint)
        self._measuring.model.restore(self._plan.checkpoint)
        return replace(self._done.trained, taken_from=os.path.relpath(self._done.folder, self._plan.run_dir))

    def _keep(self, done: Done) -> None:
        if not self._key:
            return
        while len(self._known) >= LIMIT:
            del self._known[next(iter(self._known))]
        self._known[self._key] = done

    def measure(self, *, compared: bool) -> tuple[EvalResult, Nulls]:
        """Measure what was trained, or return what the point came to whose weights it has."""
        theirs = RunFolder(self._done.folder) if self._done else None
        after = theirs.earlier(Stage.evaluate, EvalResult) if theirs else None
        nulls = theirs.nulls() if theirs else None
        return (after, nulls) if after and nulls else self._measuring.trained(compared=compared)
