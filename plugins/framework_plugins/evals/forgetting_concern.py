"""Whether a run forgot what its model knew, by what `evaluator=forgetting` and `evaluator=lm_eval` measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from framework.api.plan import Plan
from framework.api.records import Aspect, Change, Concern, Outcome, Results
from framework_plugins.evals.config import DIVERGENCE, ForgettingConfig, LmEvalConfig

PERPLEXITIES = {"general_perplexity": "perplexity of general texts", "general_answers": "perplexity of general answers"}


@dataclass(frozen=True)
class Finding:
    """One check: the finding, whether it is flagged, and its harm, 0 to 1."""

    text: str
    too_much: bool
    harm: float


def concerns(plan: Plan, results: Results) -> Iterator[Concern]:
    """Give a concern for each evaluator that asks what was known before, flagged or not."""
    for name, choice in plan.evaluator.items():
        settings = choice.config
        if isinstance(settings, ForgettingConfig):
            changes = _changes(results, settings.measures())
            findings = [*_accuracy(changes, settings), *_perplexity(changes, settings), *_divergence(results, settings)]
        elif isinstance(settings, LmEvalConfig) and settings.aspect is Aspect.general:
            findings = list(_tasks(_changes(results, settings.measures()), settings))
        else:
            continue
        if findings:
            yield _concern(name, plan, findings)


def _changes(results: Results, names: Iterable[str]) -> dict[str, Change]:
    """Return the changes of the measures of one evaluator."""
    selected = set(names)
    return {name: change for name, change in results.changes.items() if name in selected}


def _concern(name: str, plan: Plan, findings: list[Finding]) -> Concern:
    bad = [finding for finding in findings if finding.too_much]
    reported = bad or findings
    return Concern(
        name=name,
        aspect=Aspect.general,
        text=", ".join(finding.text for finding in reported),
        recommendation=recommendation(plan) if bad else "",
        flagged=bool(bad),
        harm=max((finding.harm for finding in bad), default=0.0),
    )


def recommendation(plan: Plan) -> str:
    """Say what keeps a model from forgetting."""
    rate = f"lower trainer.learning_rate={plan.training.learning_rate:g}"
    mix = "data.mix=[{data: hub, path: OWNER/NAME, weight: 0.2}]"
    more = "mix more general data in" if plan.data.config.mix else "mix general data in"
    return f"To keep what it knew, {rate}, train for fewer steps, or {more}: {mix} (docs/how-to/evaluate.md)"


def _accuracy(changes: dict[str, Change], settings: ForgettingConfig) -> Iterator[Finding]:
    change = changes.get("general_accuracy")
    if change is not None and change.before is not None and change.after is not None:
        loss = change.before - change.after
        too_much = loss > settings.max_accuracy_loss and change.outcome is Outcome.worse
        yield Finding(f"general questions right {change.before:.0%} to {change.after:.0%}", too_much, max(0.0, loss))


def _perplexity(changes: dict[str, Change], settings: ForgettingConfig) -> Iterator[Finding]:
    for name, words in PERPLEXITIES.items():
        change = changes.get(name)
        if change is not None and change.before and change.after is not None:
            ratio = change.after / change.before
            too_much = not ratio <= settings.max_perplexity_ratio  # NaN is too much, too
            text = f"{words} {change.before:.3g} to {change.after:.3g} ({ratio:.2f} times)"
            yield Finding(text, too_much, 1 - 1 / ratio if ratio > 1 else 0.0)


def _divergence(results: Results, settings: ForgettingConfig) -> Iterator[Finding]:
    measure = results.after.measures.get(DIVERGENCE)
    if measure is not None:
        noise = max(
            (null.measures[DIVERGENCE].value for null in results.nulls if DIVERGENCE in null.measures), default=None
        )
        beside = "" if noise is None else f" (a random adapter of its size: {noise:.2g})"
        text = f"divergence from the base {measure.value:.2g} nats a token{beside}"
        yield Finding(text, not measure.value <= settings.max_divergence, 1 - math.exp(-max(0.0, measure.value)))


def _tasks(changes: dict[str, Change], settings: LmEvalConfig) -> Iterator[Finding]:
    for name, change in changes.items():
        before, after = change.before, change.after
        if before is None or after is None or not (change.higher_is_better and 0 <= min(before, after) <= 1):
            continue
        loss = before - after
        too_much = loss > settings.max_loss and change.outcome is Outcome.worse
        text = f"{name} {before:.1%} to {after:.1%}"
        yield Finding(text, too_much, min(1.0, max(0.0, loss)))
