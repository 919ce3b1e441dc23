"""A finished run is evaluated again: what evaluators gave earlier that are not asked this time is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from framework.api.plan import Plan
from framework.api.records import DataResult, EvalResult, Sample
from framework.api.run_folder import RunFolder
from framework.api.schema import Stage
from framework.evaluate.measure import Measuring


@dataclass(frozen=True)
class Earlier:
    """What a finished run has measured, if its trained weights are evaluated again on the same rows."""

    before: EvalResult | None = None
    after: EvalResult | None = None

    @classmethod
    def of(cls, plan: Plan, data: DataResult | None, now: DataResult) -> Earlier:
        """Read it, before it is replaced.

        Args:
            plan: of this run.
            data: the data of the earlier run.
            now: the data of this run.
        """
        again = Stage.evaluate in plan.stages and Stage.train not in plan.stages
        if not again or data is None or data.fingerprint != now.fingerprint:
            return cls()
        folder = RunFolder(plan.run_dir)
        return cls(folder.load_result(Stage.baseline, EvalResult), folder.load_result(Stage.evaluate, EvalResult))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose results stay until they are replaced."""
        results = {Stage.baseline: self.before, Stage.evaluate: self.after}
        return tuple(stage for stage, result in results.items() if result)

    def with_baseline(self, now: EvalResult, asked: Collection[str]) -> EvalResult:
        """Return what the evaluators that are `asked` measured before the training, with what others gave earlier."""
        return _both(self.before, now, asked) if self.before else now

    def with_evaluation(self, now: EvalResult, asked: Collection[str]) -> EvalResult:
        """Return what the evaluators that are `asked` measured after the training, with what others gave earlier."""
        same = self.after and self.after.weights == now.weights
        return _both(self.after, now, asked) if self.after and same else now


def new_evaluators(measuring: Measuring, before: EvalResult) -> list[str]:
    """Return the evaluators that the base was not asked by, or with other settings or metrics."""
    if not before.settings:  # of an earlier version
        return []
    return [name for name in measuring.evaluators if before.settings.get(name) != measuring.settings_key(name)]


def _both(earlier: EvalResult, now: EvalResult, asked: Collection[str]) -> EvalResult:
    """Return a result with what other evaluators than those `asked` gave earlier."""
    measures = {name: part for name, part in earlier.measures.items() if part.evaluator not in asked} | now.measures
    base = {name: part for name, part in earlier.base.items() if part.evaluator not in asked} | now.base
    in_order = dict.fromkeys([*earlier.measures, *measures])  # the first metric of content is the primary one
    notes = earlier.notes if earlier.settings.keys() - {*asked} else []  # which evaluators they are about is unknown
    return replace(
        now,
        measures={name: measures[name] for name in in_order if name in measures},
        samples=[*_of_others(earlier.samples, asked), *now.samples],
        notes=list(dict.fromkeys([*notes, *now.notes])),
        selection=now.selection or earlier.selection,
        base=base,
        base_samples=[*_of_others(earlier.base_samples, asked), *now.base_samples],
        settings=earlier.settings | now.settings,
        tables=[*(table for table in earlier.tables if table.evaluator not in asked), *now.tables],
    )


def _of_others(samples: Iterable[Sample], asked: Collection[str]) -> list[Sample]:
    return [sample for sample in samples if sample.evaluator not in asked]
