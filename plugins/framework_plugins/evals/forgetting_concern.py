"""Whether a run forgot what its model knew, by what `evaluator=forgetting` and `evaluator=lm_eval` measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from framework import Plan
from framework.api import Aspect, Change, Concern, Outcome, Results, count
from framework_plugins.evals.config import ACCURACY, DIVERGENCE, PROBABILITY, ForgettingConfig, LmEvalConfig

POINT = 0.01
"""The least loss of a share that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """The result of one check: a text, whether it is flagged or unknown, and the least harm, 0 to 1.

    `summary` is the result in a few words, and `limit` the limit, if it may be exceeded.
    """

    text: str
    too_much: bool
    unknown: bool
    harm: float
    summary: str = ""
    limit: str = ""


def concerns(plan: Plan, results: Results) -> Iterator[Concern]:
    """Give a concern for each evaluator that measures forgetting, flagged or not."""
    for name, choice in plan.evaluator.items():
        settings = choice.config
        if isinstance(settings, ForgettingConfig):
            changes = _changes(results, settings.measures())
            texts = _perplexity(changes, settings, "general_perplexity", "general texts")
            findings = [*_questions(changes, settings), *texts]
            yield from _style_concern(name, changes, settings)
            yield from _divergence(name, plan, changes, settings)
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
    unknown = [finding for finding in findings if finding.unknown]
    reported = bad or unknown or findings
    # One is enough for a sentence, and questions come first, since a reader knows what they are.
    headline = reported[0] if bad or unknown else max(findings, key=lambda finding: finding.harm)
    summary = "not ruled out. " if unknown and not bad else ""
    summary += (
        f"{headline.summary} ({plan.settings.verdict.confidence:.0%} confidence){headline.limit}"
        if headline.summary
        else headline.text
    )
    return Concern(
        name=name,
        aspect=Aspect.general,
        text="; ".join(finding.text for finding in reported),
        summary=summary,
        recommendation=recommendation(plan) if bad else "",
        flagged=bool(bad),
        harm=max(finding.harm for finding in findings),
        unknown=bool(unknown) and not bad,
    )


def recommendation(plan: Plan) -> str:
    """Return the advice against forgetting."""
    rate = f"lower trainer.learning_rate={plan.training.learning_rate:g}"
    mix = "data.mix=[{data: hub, path: OWNER/NAME, weight: 0.2}]"
    remedy = "mix more general data in" if plan.data.config.mix else "mix general data in"
    return f"To keep what it knew, {rate}, train for fewer steps, or {remedy}: {mix} (docs/how-to/evaluate.md)"


def _questions(changes: dict[str, Change], settings: ForgettingConfig) -> Iterator[Finding]:
    """Decide by the probability of the right choice, and give the share of right answers too."""
    accuracy, probability = changes.get(ACCURACY), changes.get(PROBABILITY)
    decides, words, plain = probability or accuracy, "general questions right", ""  # an older folder has no probability
    if probability and accuracy and accuracy.before is not None and accuracy.after is not None:
        words += f" {accuracy.before:.0%} to {accuracy.after:.0%}, probability of the right choice"
        plain = f"{accuracy.before:.0%} of {accuracy.pairs or probability.pairs} general questions were right before, "
        plain += f"{accuracy.after:.0%} are after; the probability of the right choice fell by"
    if decides:
        yield from _share_finding(decides, words, settings.max_accuracy_loss, "max_accuracy_loss", ".0%", plain)


def _share_finding(
    change: Change, words: str, margin: float, setting: str, digits: str, plain: str = ""
) -> Iterator[Finding]:
    """Compare the loss of a share with the most that is allowed: non-inferiority, by the interval.

    Args:
        change: of the share.
        words: the name of the texts in sentences.
        margin: the most that is allowed.
        setting: the name of that.
        digits: how shares are written.
        plain: the beginning of the summary, up to the points that are lost.
    """
    if change.before is None or change.after is None:
        return
    text = f"{words} {change.before:{digits}} to {change.after:{digits}} of {change.pairs}"
    if change.low is None or change.high is None:
        yield Finding(f"{text}, untested", too_much=False, unknown=True, harm=0.0)
        return
    low_loss, high_loss = max(0.0, -change.high), max(0.0, -change.low)
    too_much = change.outcome is Outcome.worse and change.before - change.after > margin
    low, high = math.floor(100 * low_loss), math.ceil(100 * high_loss)  # a bound above a limit of 10 is not 10
    lost = f"{low} to {count(high, 'point')}" if low_loss >= POINT else f"at most {count(high, 'point')}"
    unknown = not too_much and high_loss > margin
    caveat = (
        f"; a loss above {setting}={margin:g} is not ruled out; more questions would narrow this" if unknown else ""
    )
    bounds = f"at least {count(low, 'point')}" if too_much else lost
    summary = f"{plain} {bounds}" if plain else f"{text}, {bounds} lost"
    limit = f"; the limit is {100 * margin:g} points" if unknown else ""
    yield Finding(f"{text}, {lost} lost{caveat}", too_much, unknown, min(1.0, low_loss), summary, limit)


def _perplexity(changes: dict[str, Change], settings: ForgettingConfig, name: str, words: str) -> Iterator[Finding]:
    """Compare the factor by which a perplexity grew with the largest that is allowed, by its interval."""
    change = changes.get(name)
    if change is None or not change.before or change.after is None:
        return
    ratio, limit = change.after / change.before, settings.max_perplexity_ratio
    text = f"perplexity of {words} {change.before:.3g} to {change.after:.3g} of {change.pairs} ({_times_text(ratio)}"
    if change.low is None or change.high is None:
        broken = not math.isfinite(ratio)
        yield Finding(f"{text}, untested)", broken, not broken, float(broken))
        return
    low_ratio, high_ratio = (1 + bound / change.before for bound in (change.low, change.high))
    too_much = change.outcome is Outcome.worse and ratio > limit
    unknown = not too_much and high_ratio > limit
    caveat = f"; max_perplexity_ratio={limit:g}" if unknown else ""
    harm = 1 - 1 / low_ratio if low_ratio > 1 else 0.0
    summary = f"{words} are {_times_text(ratio)} as surprising to the model as before, "
    summary += f"at least {_times_text(low_ratio)}" if too_much else f"at most {_times_text(high_ratio)}"
    allowed = f"; the limit is {limit:g} times" if unknown else ""
    yield Finding(f"{text}, at most {_factor_text(high_ratio)}{caveat})", too_much, unknown, harm, summary, allowed)


def _style_concern(name: str, changes: dict[str, Change], settings: ForgettingConfig) -> Iterator[Concern]:
    """Say that good answers to general instructions became much less likely.

    A model that learns a tone, or to answer in one word, answers everything so: that is a style, and no knowledge is
    lost by it. So it is reported, and neither counts as forgetting nor lowers the score.
    """
    for finding in _perplexity(changes, settings, "general_answers", "good answers to general instructions"):
        if finding.too_much:
            text = f"style: the model answers general instructions in the style of the new answers: {finding.summary}"
            yield Concern(f"{name}_style", Aspect.task, f"style: {finding.text}", "", flagged=True, summary=text)


def _times_text(factor: float) -> str:
    return f"{_factor_text(factor)} times"


def _factor_text(factor: float) -> str:
    if factor < 10:  # noqa: PLR2004 - then no digit more tells
        return f"{factor:.2f}"
    return f"{factor:,.0f}" if factor < 1e6 else f"{factor:.2g}"  # noqa: PLR2004 - which a reader can still say


def _divergence(name: str, plan: Plan, changes: dict[str, Change], settings: ForgettingConfig) -> Iterator[Concern]:
    """Say how far the model is from its base: a measure of change, which is a concern above a bound only."""
    change = changes.get(DIVERGENCE)
    if change is None or change.after is None:
        return
    # A trained adapter that the training starts from is away from the base already.
    distance, further = change.after - (change.before or 0.0), "further " if change.before else ""
    low, high = (None if bound is None else max(0.0, bound) for bound in (change.low, change.high))
    bounds = "" if low is None or high is None else f" ({low:.2g} to {high:.2g})"
    text = f"changed: {distance:.2g} nats per token {further}from the base at general answers{bounds}"
    least = distance if low is None else low
    too_much = not least <= settings.max_divergence  # NaN is too much, too
    limit = f"max_divergence={settings.max_divergence:g}"
    if too_much:
        comparison = f", more than {limit}"
    elif max(distance, high or 0.0) > settings.max_divergence:
        comparison = f"; more than {limit} is not ruled out"
    else:
        comparison = f", within {limit}"
    harm = 1 - math.exp(-(least - settings.max_divergence)) if too_much else 0.0
    advice = recommendation(plan) if too_much else ""
    far = "changed: it answers general questions very differently from its base, "
    far += f"{distance:.2g} nats per token; the limit is {settings.max_divergence:g}"
    summary = far if too_much else ""
    yield Concern(f"{name}_divergence", Aspect.task, f"{text}{comparison}", advice, too_much, harm, summary=summary)


def _tasks(changes: dict[str, Change], settings: LmEvalConfig) -> Iterator[Finding]:
    for name, change in changes.items():
        values = [value for value in (change.before, change.after) if value is not None]
        if change.higher_is_better and values and 0 <= min(values) <= max(values) <= 1:
            yield from _share_finding(change, name, settings.max_loss, "max_loss", ".1%")
