"""What a model is measured by: the validation loss and every evaluator."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from statistics import fmean
from typing import Self

from framework.api.data import Data
from framework.api.plan import TEXT_PERPLEXITY, Plan
from framework.api.protocols import AnyMetric, Evaluator, Model
from framework.api.records import (
    Answered,
    Aspect,
    EvalResult,
    ExpertUse,
    Measure,
    MeasureKind,
    Results,
    Sample,
    TokenRow,
    Verdict,
)
from framework.api.schema import Affects
from framework.api.scoring import mean
from framework.evaluate.verdict import compare
from framework.hooks.session import Session
from framework.util.errors import FrameworkError
from framework.util.guard import Guard
from framework.util.hashing import key_of

MAX_NATS = 700.0
"""The largest power of e that is a number."""


@dataclass(frozen=True)
class Measuring:
    """Measures the model of a run as it is, each time in the same way."""

    plan: Plan
    model: Model
    data: Data
    evaluators: Mapping[str, Evaluator]
    metrics: Mapping[str, AnyMetric]
    session: Session

    @property
    def base_key(self) -> str:
        """A hash over all inputs of the base's measures; empty if the model has none."""
        base = self.model.base_key
        return key_of(base, self.data.result.fingerprint, self.plan.affecting(Affects.baseline)) if base else ""

    def settings_key(self, evaluator: str) -> str:
        """Return a hash over the settings that an evaluator's measures of the base depend on."""
        return key_of(self.only([evaluator]).plan.affecting(Affects.baseline))

    def only(self, names: Collection[str]) -> Self:
        """Return what measures by some of the evaluators."""
        chosen = {name: choice for name, choice in self.plan.evaluator.items() if name in names}
        evaluators = {name: evaluator for name, evaluator in self.evaluators.items() if name in names}
        return replace(self, plan=replace(self.plan, evaluator=chosen), evaluators=evaluators)

    @property
    def objective(self) -> str:
        """The name of the measure that a sweep chooses by."""
        return self.plan.objective_by(self.data.result.decides)

    @cached_property
    def start_key(self) -> str:
        """A hash over the trained adapter that the training starts from; empty if it starts from the base."""
        start = self.plan.start(weights=True)
        return key_of(start.sha256, start.merged) if start else ""

    def before(self) -> EvalResult:
        """Measure the model before the training, or share the measures of another trial with the same start.

        If the training starts from a trained adapter, `base` has the measures of the base too.
        """
        take = self.session.shared.get_or_make
        with self.model.as_base():
            base: EvalResult = take("baseline", self.base_key, partial(self.now, base=True))
        if not self.start_key:
            return base
        key = key_of(self.base_key, self.start_key) if self.base_key else ""
        start: EvalResult = take("start", key, partial(self.now, base=True, once=True))
        return replace(start, base=base.measures, base_samples=base.samples)

    def now(self, *, base: bool = False, once: bool = False, before: EvalResult | None = None) -> EvalResult:
        """Measure the model as it is: the validation loss, then every evaluator.

        Args:
            base: it is not trained yet.
            once: it cannot be asked again after the training.
            before: the results before the training, which evaluators that look in stages compare with.

        Raises:
            FrameworkError: it is not trained yet, and its loss is not a number.
        """
        measures: dict[str, Measure] = {}
        of_base: dict[str, Measure] = {}
        samples, notes, base_samples = [], [], []
        experts: ExpertUse | None = None
        # The loss first: it shows a damaged base before the answers, which take most of the time.
        losses, data = [Measure.EVAL_LOSS] if self.data.validation else [], self.data
        own = self.model.measures(self.data.validation_groups) if losses else None
        if own is not None:
            losses, measures = [], {name: _add_clusters(measure, data) for name, measure in own.items()}
        parts = len(losses) + len(self.evaluators)
        for name in losses:
            with self.session.progress.part(name, 1, parts, "measure"):
                data = replace(data, scored=self.model.score(data.validation))
                measures[name], experts = _validation_loss(data), self.model.expert_use
            if base and not math.isfinite(measures[name].value):
                raise _damaged_base_error(measures[name])
        if losses and self.plan.method.config.texts:
            measures[TEXT_PERPLEXITY] = _perplexity(measures[Measure.EVAL_LOSS])
        if losses:  # those of a method may have another `eval_loss`, of the rows that should become likelier
            of_method = self.plan.method.create().measures(self.model, self.data.validation_groups)
            measures |= {name: _add_clusters(measure, self.data) for name, measure in of_method.items()}
        for name, validation_set in self.plan.set_losses.items() if Measure.EVAL_LOSS in measures else ():
            if (part := _set_loss(measures[Measure.EVAL_LOSS], validation_set)) is not None:
                measures[name] = part
        for index, (name, evaluator) in enumerate(self.evaluators.items(), start=len(losses) + 1):
            with self.session.progress.part(name, index, parts, "measure"):
                looks = 1 if self.base_key and not once else evaluator.looks(self.model, data, self.metrics)
                looked = partial(self._run_looks, name, evaluator, data, before)
                result = evaluator.look(looks, self.model, data, self.metrics) if base else looked()
            result = _given_by(name, result)
            measures |= result.measures
            of_base |= result.base
            base_samples += result.base_samples
            samples += result.samples
            notes += result.notes
        # The score compares with the base, any other objective is of the trained model only.
        selection = self._measure_selection() if self.objective == Verdict.SCORE else {}
        settings = {name: self.settings_key(name) for name in self.evaluators}
        return EvalResult(measures, samples, notes, selection, of_base, base_samples, experts, settings=settings)

    def _run_looks(self, name: str, evaluator: Evaluator, data: Data, before: EvalResult | None) -> EvalResult:
        """Evaluate the trained model look by look until a look decides, and the base along with it."""
        look, base, looks = 1, before, evaluator.looks(self.model, data, self.metrics)
        after = evaluator.look(1, self.model, data, self.metrics)
        while look < looks and not evaluator.decided(
            self._results_so_far(base, after), self.plan.settings.verdict.confidence
        ):
            look += 1
            after = evaluator.look(look, self.model, data, self.metrics, after)
            if base and self.base_key and not self.start_key:  # else it is gone, and was asked everything
                base_look = partial(self._look_at_base, look, evaluator, base)
                base = self.session.shared.get_or_make(f"{name}, look {look}", self.base_key, base_look)
        if before is None or base is None or base is before:
            return after
        measures = {
            name: measure for name, measure in base.measures.items() if measure is not before.measures.get(name)
        }
        prompts = {sample.prompt for sample in before.samples}
        return replace(
            after, base=measures, base_samples=[sample for sample in base.samples if sample.prompt not in prompts]
        )

    def _look_at_base(self, look: int, evaluator: Evaluator, previous: EvalResult) -> EvalResult:
        """Evaluate the base in one more look, without `data.scored`, which is of the trained model."""
        with self.model.as_base():
            return evaluator.look(look, self.model, self.data, self.metrics, previous)

    def _results_so_far(self, before: EvalResult | None, after: EvalResult) -> Results:
        """Compare the measures so far, as the report does."""
        leaked = [where for finding in self.data.result.findings for where in finding.where]
        before = beside(before, after) if before else None
        changes = compare(
            before,
            after,
            self.plan.settings.verdict,
            leaked=leaked,
            decides=self.data.result.decides,
            rewards=self.plan.reward,
        )
        return Results(before, after, None, changes)

    @property
    def selecting(self) -> Sequence[Evaluator]:
        """The evaluators that a sweep chooses by; they evaluate the validation rows too.

        Empty if the verdict judges by the same rows.
        """
        plan, asking = (
            self.plan,
            [e for e in self.evaluators.values() if e.own_prompts(self.data.format) is not None],
        )
        # Rows that choose and judge at once are measured once.
        if not (plan.sweep and self.data.selection and self.data.result.judged_apart):
            return []
        if self.objective == Verdict.SCORE:
            return asking
        if self.objective in plan.metric:
            return [*self.evaluators.values()]
        named = (name for name, choice in plan.evaluator.items() if self.objective in choice.config.measures())
        return [evaluator for evaluator in map(self.evaluators.__getitem__, named) if evaluator in asking]

    def _measure_selection(self) -> dict[str, Measure]:
        """Return the measures that a sweep chooses by."""
        name, measures = self.objective, dict[str, Measure]()
        for evaluator in self.selecting:
            measures |= evaluator.evaluate(self.model, self.data.for_selection(), self.metrics).measures
            if name in measures:
                return {name: measures[name]}
        return measures

    def trained(self, before: EvalResult | None) -> EvalResult:
        """Measure the trained model, with the measures of a sweep and the comparisons with the base's answers."""
        after = self.now(before=before)
        after = self._add_comparisons(beside(before, after) if before else None, after)
        return after if after.selection else replace(after, selection=self._measure_selection())

    def _add_comparisons(self, before: EvalResult | None, after: EvalResult) -> EvalResult:
        """Add `NAME_wins` of each metric that compares answers with the base's, before the metric's own measure."""
        earlier = {sample.prompt: sample for sample in before.samples} if before else {}
        indices = [index for index, sample in enumerate(after.samples) if sample.prompt in earlier]
        measures, notes = dict(after.measures), list(after.notes)
        for name, metric in self.metrics.items():
            own_measure = measures.get(name)
            if not indices or own_measure is None or not metric.compares:
                continue
            samples = [after.samples[index] for index in indices]
            with Guard(f"metric '{name}' cannot compare the answers"):
                scores = metric.compare(
                    [_answer_of(earlier[sample.prompt]) for sample in samples],
                    [_answer_of(sample) for sample in samples],
                )
            notes += [f"metric '{name}': {note}" for note in scores.notes]
            item_by_index = dict(zip(indices, scores.items, strict=True))
            scored_items = [item for item in scores.items if item is not None]
            if scored_items and len(own_measure.items) == len(after.samples):
                items = [item_by_index.get(index) for index in range(len(own_measure.items))]
                weights = (
                    [float(index in item_by_index) for index in range(len(own_measure.items))]
                    if len(item_by_index) < len(items)
                    else []
                )
                # Its own controls are of grades, not of comparisons.
                bare = replace(own_measure, content=[], constant="", constant_items=[], answers=0)
                wins = replace(bare, value=fmean(scored_items), items=items, weights=weights, unit="", compared=True)
                measures = {
                    key: measure
                    # The first metric with content is the primary one, so what compares comes before its own metric.
                    for measure_name, existing in measures.items()
                    for key, measure in (
                        [(f"{name}{Measure.WINS}", wins), (measure_name, existing)]
                        if measure_name == name
                        else [(measure_name, existing)]
                    )
                }
        return replace(after, measures=measures, notes=notes)


def over_base(before: EvalResult, after: EvalResult) -> tuple[EvalResult, EvalResult]:
    """Return the results of the base and the trained model for the items that both have.

    Args:
        before: the results of the adapter that the training started from, with the measures of the base.
        after: the results of the trained model.
    """
    base = EvalResult(before.base, before.base_samples)
    after = replace(after, base={}, base_samples=[])
    return beside(base, after), replace(beside(after, base), base={}, base_samples=[])


def beside(before: EvalResult, after: EvalResult) -> EvalResult:
    """Return the results before the training, cut to the items that the trained model has."""
    measures, samples = before.measures | after.base, [*before.samples, *after.base_samples]
    for name, measure in after.measures.items():
        base, count = measures.get(name), len(measure.items)
        # Asked before it was known how many.
        if base is not None and measure.look_share < 1 and 0 < count < len(base.items):
            measures[name] = first_items(base, count)
            if measure.aspect is Aspect.task:
                prompts = {sample.prompt for sample in after.samples}
                samples = [sample for sample in samples if sample.prompt in prompts]
    return replace(before, measures=measures, samples=samples)


def first_items(measure: Measure, count: int) -> Measure:
    """Return the measure over its first items."""
    items, weights = measure.items[:count], measure.weights[:count]
    has_weight = any(item is not None and weight for item, weight in zip(items, weights or [1.0] * count, strict=True))
    return replace(
        measure,
        value=mean(items, weights, exponential=measure.exponential) if has_weight else measure.value,
        items=items,
        weights=weights,
        where=measure.where[:count],
        clusters=measure.clusters[:count],
        content=measure.content[:count],
        constant_items=measure.constant_items[:count],
    )


def _given_by(evaluator: str, result: EvalResult) -> EvalResult:
    """Note the evaluator in all that it gave."""
    measures, base = (
        {name: replace(measure, evaluator=evaluator) for name, measure in side.items()}
        for side in (result.measures, result.base)
    )
    samples, base_samples = (
        [replace(sample, evaluator=evaluator) for sample in side] for side in (result.samples, result.base_samples)
    )
    return replace(result, measures=measures, base=base, samples=samples, base_samples=base_samples)


def _answer_of(sample: Sample) -> Answered:
    return Answered(sample.prompt, sample.answer, sample.reference, sample.tokens, sample.stopped)


def _validation_loss(data: Data) -> Measure:
    """Return the mean loss over the supervised tokens, row by row, in nats."""
    scored = [row.log_probs for row in data.scored]
    weights = [float(len(row)) for row in scored]
    items = [-sum(row) / len(row) if row else None for row in scored]
    value = sum(-sum(row) for row in scored) / sum(weights)
    where = [row.where for row in data.validation]
    return _add_clusters(Measure(value, items, weights, kind=MeasureKind.loss, where=where), data)


def _add_clusters(measure: Measure, data: Data) -> Measure:
    """Return a measure of validation rows with the cluster of each, unless all are different or one is not known."""
    clusters = dict(zip((row.where for row in data.validation), data.clusters, strict=False))
    numbers = [clusters[where] for where in measure.where if where in clusters]
    is_known = not measure.clusters and len(numbers) == len(measure.items)
    return replace(measure, clusters=numbers) if is_known and len({*numbers}) < len(numbers) else measure


def _perplexity(loss: Measure) -> Measure:
    """Return the perplexity of held-out texts: e to the loss, over the same items."""
    value = math.exp(min(loss.value, MAX_NATS))
    return replace(loss, value=value, exponential=True, kind=MeasureKind.content, item="held-out text")


def _damaged_base_error(loss: Measure) -> FrameworkError:
    """Return the error for a damaged base, given its validation loss."""
    wrong = [where for where, item in zip(loss.where, loss.items, strict=True) if not math.isfinite(item or 0)]
    return FrameworkError(
        f"the base model has a loss of {loss.value} before any training, on {len(wrong)} of {len(loss.items)} "
        f"validation rows, {wrong[0]} first: its weights or its config.json are damaged, or the run's dtype is too "
        "narrow\nGet the model again from its source, or set trainer.dtype=fp32"
    )


def _set_loss(loss: Measure, name: str) -> Measure | None:
    """Return the validation loss of the rows of a set; None if none is left."""
    indices = [index for index, where in enumerate(loss.where) if TokenRow.set_of(where) == name]
    items, weights = ([loss.items[index] for index in indices], [loss.weights[index] for index in indices])
    if not sum(weights):
        return None
    total = sum(item * weight for item, weight in zip(items, weights, strict=True) if item is not None)
    clusters = [loss.clusters[index] for index in indices] if loss.clusters else []
    where = [loss.where[index] for index in indices]
    return replace(loss, value=total / sum(weights), items=items, weights=weights, where=where, clusters=clusters)
