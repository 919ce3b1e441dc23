"""The verdict on a run: a sentence for each of gained, forgot and copied, and first of all what was lost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from framework.api.records import Aspect, Change, Concern, Measure, MeasureKind, Outcome, Tone, Verdict
from framework.api.schema import VerdictConfig
from framework.api.scoring import DEALT
from framework.api.text import count, is_share, number, visible
from framework.evaluate.verdict.compare import at_worst, is_preference

HARMS = {Aspect.general: "forgot", Aspect.copying: "copied"}
"""What a concern is about, and the word for it."""
LOST = {Aspect.general: "it forgot part of what it knew", Aspect.copying: "it recites training rows"}
"""What the first sentence says of a concern that is flagged."""
HARM = 0.01
"""A harm that is certain, from which `no` would be wrong."""
EXPLODED = 2.0
"""Times the base's validation loss from which the first sentence names it beside a gain: overfitting raises it too."""
UNCHANGED, SAME = 0.01, 0.95
"""Nats per token from the base, and the share of equal answers, up to and from which the training changed nothing."""
SAME_LOSS = 0.001
"""Nats per token from which a loss has moved. Rounding moves that of all rows a little one way, which a test finds.

Measured after it was chosen, with LoRA factors of 2e-9 to 1e-6 and random signs in SmolLM2-135M: the mean of 8 rows
moves by up to 1e-6 in fp32 (t = -4.1), and in bf16 by 0 to 0.0013, which differs by row and is not significant.
"""
MOSTLY_CUT = 0.5
"""Share of the answers before the training that end by themselves, up to which the first sentence says so: what a model
has not said yet when its answer is cut may be right."""
FEWEST_GROUPS = 6
"""With fewer groups, no pattern of signs is rare enough for the sign-flip test: the least p-value is 2 / 2**5."""
SCORE_MEANS = "from -1 to 1: the gain that is certain, less the harm that is certain"
SHOWN_CHARACTERS = 40
"""Characters of an answer in a sentence."""


@dataclass(frozen=True)
class Statement:
    """The result of the primary measure: a head for the first sentence, the line after `gained:`, and the tone."""

    head: str
    text: str
    tone: Tone = Tone.neutral
    short: str = ""


def judge(
    changes: Mapping[str, Change],
    concerns: Sequence[Concern],
    config: VerdictConfig,
    *,
    leak: str = "",
    template: bool = False,
    chosen: str = "",
    equal_answers: tuple[int, int] = (0, 0),
    over_base: Mapping[str, Change] | None = None,
) -> Verdict:
    """Return the verdict on the measures.

    Args:
        changes: each measure before and after.
        concerns: the concerns of plugins.
        config: the settings of the verdict.
        leak: the finding of an audit about prompts that training answers; empty without one.
        template: whether all prompts follow one template, the only one that a gain is shown for.
        chosen: the note about a trial that a sweep chose; empty for others.
        equal_answers: how many answers equal the earlier ones word for word, and how many there are.
        over_base: each measure of the base and after, if `changes` are from a trained adapter that the training started
            from.
    """
    primary = next((name for name, change in changes.items() if change.primary), "")
    gained = _primary_outcome(changes, primary)
    measured = {change.aspect for change in changes.values() if change.after is not None}
    harms = {aspect: _has_harm(aspect, concerns) for aspect in measured}
    gain = _certain_gain(changes[primary]) if primary else None
    score = None if gain is None else max(-1.0, gain - sum(concern.harm for concern in concerns))
    start = "the adapter that it started from" if over_base else "the base"
    nearer = _nearer_text(changes, primary, concerns)
    statement = _primary_statement(changes, primary, gained, config, start, nearer)
    if statement.tone is Tone.good and (cut := _cut_text(changes, start)):
        statement = replace(statement, text=f"{statement.text}; {cut}", short=f"{statement.short}; {cut}")
    losses = list(_losses(changes, concerns, gained, primary))
    unchanged = _unchanged_text(changes, gained, equal_answers, continued=bool(over_base))
    texts = [_change_text(name, changes[name]) for name in _other_gains(changes, primary)]
    rises = [text for text in texts if text not in statement.short]
    summary, tone = _first_sentence(statement, losses, unchanged, rises[:1])
    lines = [
        (f"gained: {statement.text}", statement.tone),
        *_over_base_line(over_base or {}, primary, config),
        *_task_lines(changes, primary, gained, leak=leak, chosen=chosen),
        *_harm_lines(concerns, measured),
    ]
    return Verdict(
        gained=gained,
        forgot=harms.get(Aspect.general),
        copied=harms.get(Aspect.copying),
        score=score,
        confidence=config.confidence,
        concerns=list(concerns),
        lines=[line for line, _ in lines],
        more=[
            *_details(changes, primary, config, start, template=template),
            *_measure_lines(changes, concerns),
            *(() if score is None else (f"score {score:.2f}, {SCORE_MEANS}",)),
        ],
        primary=primary,
        unchanged=bool(unchanged),
        summary=summary,
        tone=tone,
        tones=[tone for _, tone in lines],
    )


def _primary_outcome(changes: Mapping[str, Change], primary: str) -> Outcome | None:
    """Return the outcome of the primary measure; None if the base was not measured."""
    if not any(change.before is not None and change.after is not None for change in changes.values()):
        return None
    outcome = changes[primary].outcome if primary else None
    return Outcome.unknown if outcome in {None, Outcome.undecided} else outcome


def _has_harm(aspect: Aspect, concerns: Sequence[Concern]) -> bool | None:
    about = [concern for concern in concerns if concern.aspect is aspect]
    if any(concern.flagged for concern in about):
        return True
    return False if about and not any(concern.unknown for concern in about) else None


def _certain_gain(change: Change) -> float | None:
    """Return the certain gain, -1 to 1: points of a share, or the change as a share of the larger value.

    It is the bound of the interval that lies nearer to 0, and 0 if the interval holds it: no jump where a difference
    becomes significant.
    """
    before, after = change.before, change.after
    if before is None or after is None or change.outcome is None:
        return None
    if change.not_finite:
        return -1.0 if change.outcome is Outcome.worse else 0.0
    low, high = change.low, change.high
    if change.held_back and change.outcome is Outcome.worse:
        low, high = change.content_low, change.content_high
    elif change.held_back:
        return 0.0
    if low is None or high is None:
        return 0.0
    # At most one of the two is not 0: the bound nearer to 0, if the interval does not hold 0.
    certain = max(low, 0.0) + min(high, 0.0) if change.beyond is None else change.beyond
    rate = (
        change.kind is not MeasureKind.loss and not change.unit and min(before, after) >= 0 and max(before, after) <= 1
    )
    size = 1.0 if rate else max(abs(before), abs(after)) or 1.0
    return max(-1.0, min(1.0, certain / size * (1 if change.higher_is_better else -1)))


# --- the first sentence ----------------------------------------------------------------------------------------------


def _first_sentence(
    statement: Statement, losses: Sequence[str], unchanged: str, rises: Sequence[str]
) -> tuple[str, Tone]:
    """Return the first sentence and its tone: losses come first, then a training without any effect."""
    if not losses:
        also = "".join(f"; {rise}" for rise in rises if statement.tone is not Tone.good)
        text = f"{statement.head}: {statement.short or statement.text}{also}."
        return (f"{unchanged}.", Tone.flagged) if unchanged else (text, statement.tone)
    lost = ", ".join(losses[:-1]) + (", and " if losses[1:] else "") + losses[-1]
    if statement.tone is Tone.good:
        return f"{statement.head}, but with losses: {statement.short}; {lost}.", Tone.flagged
    suffix = f"; {statement.short}" if statement.short else ""
    return f"Worse: {lost}{suffix}.", Tone.lost


def _losses(
    changes: Mapping[str, Change], concerns: Sequence[Concern], gained: Outcome | None, primary: str
) -> Iterator[str]:
    """Give the losses, a clause each, the worst first."""
    worse = {name: change for name, change in changes.items() if change.outcome is Outcome.worse and name != primary}
    of_task = {name: change for name, change in worse.items() if change.aspect is Aspect.task}
    yield from (_not_finite(name, change) for name, change in of_task.items() if change.not_finite)
    yield from (_change_text(name, change) for name, change in _preference_changes(changes, Outcome.worse).items())
    loss = of_task.get(Measure.EVAL_LOSS)
    if loss and not loss.not_finite:
        before, after = loss.before or 0.0, loss.after or 0.0
        if gained is not Outcome.better or after > EXPLODED * before:
            yield f"the validation loss rose from {before:.3g} to {after:.3g}"
    if (ends := of_task.get("stopped")) and ends.after is not None:
        yield (
            "no answer ends by itself any more"
            if not ends.after
            else f"only {ends.after:.0%} of the answers end by themselves"
        )
    held_back = primary in changes and changes[primary].held_back  # that content was lost, which others would repeat
    content = (
        name
        for name, change in of_task.items()
        if change.kind is MeasureKind.content and not (change.not_finite or (held_back and change.held_back))
    )
    yield from (_loss_text(name, of_task[name]) for name in content)
    for aspect, text in LOST.items():
        if _has_harm(aspect, concerns):
            yield text


def _other_gains(changes: Mapping[str, Change], primary: str) -> list[str]:
    """Return the names of the other measures that got better: of preferences, then of content."""
    return [
        *_preference_changes(changes, Outcome.better),
        *_names_with(changes, Outcome.better, MeasureKind.content, primary),
    ]


def _cut_text(changes: Mapping[str, Change], start: str) -> str:
    """Say that the answers before the training were cut, if most were; empty otherwise."""
    ends = changes.get("stopped")
    if ends is None or ends.before is None or ends.before > MOSTLY_CUT:
        return ""
    answers = f"only {ends.before:.0%} of the answers" if ends.before else "no answer"
    return f"{answers} of {start} ended within the limit of tokens, so more may have been right"


def _loss_text(name: str, change: Change) -> str:
    """Say how a measure got worse; one that is worse in content may itself have risen."""
    if not change.held_back:
        return _significant_text(name, change)
    before, after = (number(value, name, change.unit) for value in (change.content_before, change.content_after))
    return f"{name} {_verb(change)} from {before} to {after} if only the content of an answer counts"


def _preference_changes(changes: Mapping[str, Change], outcome: Outcome) -> dict[str, Change]:
    """Return the measures of preferences with an outcome, except the primary measure."""
    return {
        name: change
        for name, change in changes.items()
        if is_preference(change) and change.outcome is outcome and not change.primary and not change.not_finite
    }


def _not_finite(name: str, change: Change) -> str:
    return f"{name} is no longer a finite number for {change.not_finite} of {count(change.pairs, 'item')}"


def _unchanged_text(
    changes: Mapping[str, Change], gained: Outcome | None, equal_answers: tuple[int, int], *, continued: bool
) -> str:
    """Return the sentence for a training that changed neither answers nor probabilities; empty if it changed some.

    Without a measure of the change, all answers have to be equal, and the validation loss the same.
    """
    equal, total = equal_answers
    if gained in {Outcome.better, Outcome.worse} or not total or any(map(_has_moved, changes.values())):
        return ""
    answers = (
        f"The training changed nothing: {equal} of {count(total, 'answer')} {'is' if equal == 1 else 'are'} as before, "
    )
    change = next((change for change in changes.values() if change.kind is MeasureKind.change), None)
    loss = changes.get(Measure.EVAL_LOSS)
    if change is not None and change.after is not None:
        # How far the trained adapter was from the base that the training continues from is not of this training.
        distance = abs(change.after - (change.before or 0.0)) if continued else change.after
        further = "further " if continued else ""
        moved = f"{distance:.2g} nats per token {further}from the base"
        tokens = f"and so are the probabilities of tokens at general answers ({moved})"
        return answers + tokens if distance < UNCHANGED and equal >= SAME * total else ""
    if loss is None or loss.before is None or loss.after is None or equal < total:
        return ""
    return f"{answers}and so is the validation loss ({loss.after:.3g})"


def _has_moved(change: Change) -> bool:
    """Whether a loss of the task changed, significantly or by more than rounding does, or any score of it at all."""
    if change.aspect is not Aspect.task or change.before is None or change.after is None:
        return False
    if change.kind in {MeasureKind.content, MeasureKind.form}:
        return change.before != change.after
    significant = change.outcome in {Outcome.better, Outcome.worse}
    return abs(change.after - change.before) >= (SAME_LOSS if significant else UNCHANGED)


# --- gained ----------------------------------------------------------------------------------------------------------


def _over_base_line(changes: Mapping[str, Change], primary: str, config: VerdictConfig) -> Iterator[tuple[str, Tone]]:
    """Return the gain of all trainings together, if this one started from a trained adapter."""
    if primary in changes:
        statement = _primary_statement(changes, primary, _primary_outcome(changes, primary), config, "the base")
        yield (
            f"over the base: {statement.text}; above, before is the adapter that this training started from",
            statement.tone,
        )


def _nearer_text(changes: Mapping[str, Change], primary: str, concerns: Sequence[Concern]) -> str:
    """Say which other measure of content got better; empty if none did, or if it may be a reward that is hacked."""
    names = _names_with(changes, Outcome.better, MeasureKind.content, primary)
    if not names or any(concern.flagged and concern.aspect is Aspect.task for concern in concerns):
        return ""
    return _change_text(names[0], changes[names[0]])


def _primary_statement(
    changes: Mapping[str, Change],
    primary: str,
    gained: Outcome | None,
    config: VerdictConfig,
    start: str,
    nearer: str = "",
) -> Statement:
    """Return the statement about the gain; `start` names the model before the training."""
    if gained is None:
        return Statement(
            "Not compared", "unknown, because the base was not measured", short="the base was not measured"
        )
    if not primary and config.primary:
        return _unknown_statement(f"verdict.primary={config.primary} was not measured")
    if not primary:
        return _unknown_statement(
            "no metric compares the content of answers with what it should be: give prompts with answers and "
            "metric=[exact_match], or metric=[judge]"
        )
    name, change = primary, changes[primary]
    items = count(change.pairs, change.item)
    if change.outcome is None:
        return _unknown_statement(f"{name} has no result for each prompt, so nothing can be tested")
    if not change.pairs:
        return _unknown_statement(f"all {change.leaked} {change.item}s are answered by training rows")
    if change.not_finite and change.outcome is Outcome.worse:
        text = _not_finite(name, change)
        return Statement("Worse", f"no, it got worse. {text}", Tone.lost, text)
    if change.not_finite:
        return _unknown_statement(f"{name} of {start} is not finite for {change.not_finite} of {items}")
    if change.missing == change.pairs:
        return _unknown_statement(f"none of {items} has a score of {name} before and after")
    return _tested_statement(name, change, items, f"{config.confidence:.0%} confidence", start, nearer)


def _unknown_statement(why: str) -> Statement:
    return Statement("Cannot tell", f"cannot tell. {why}", short=why)


def _tested_statement(name: str, change: Change, items: str, sure: str, start: str, nearer: str) -> Statement:
    """Return the statement about a tested primary measure; `nearer` says which other measure of content got better."""
    moved, of_all = _change_text(name, change), _change_text(name, change, items)
    lower, upper = _gain_bounds(change)
    if change.held_back:
        return _held_back_statement(change, moved, of_all, name, sure)
    if change.outcome in {Outcome.better, Outcome.worse}:
        form = " (form, not content)" if change.kind is not MeasureKind.content else ""
        text = f"{of_all}, by at least {_amount(abs(lower if lower > 0 else upper), change, name)} ({sure})"
        if change.early:
            text, moved = _significant_text(name, change, sure), _significant_text(name, change)
        if change.outcome is Outcome.better:
            return Statement(f"Better{form}", f"yes{form}. {text}", Tone.good, moved)
        if _bounds(change.content_low, change.content_high, change)[0] > 0:
            before, after = (
                number(value, name, change.unit) for value in (change.content_before, change.content_after)
            )
            content = f"but if only the content of an answer counts, it {_verb(change)} from {before} to {after}"
            head = "Better in content, worse in form"
            return Statement(head, f"no, it got worse in form. {text}, {content}", Tone.flagged, f"{moved}, {content}")
        return Statement(f"Worse{form}", f"no, it got worse{form}. {text}", Tone.lost, moved)
    loss_bound = f"a loss of more than {_amount(change.margin, change, name)} is ruled out ({sure})"
    lost_at_most = f"a loss of up to {_amount(max(-lower, 0.0), change, name)} is not ruled out ({sure})"
    loss_ruled_out = change.outcome is Outcome.no_worse
    between = _interval_text(lower, upper, change, name, sure)
    if at_best(change):
        right = f"{start} answers {items} right already"
        if change.before == change.after == change.constant:
            text = (
                f"{name} is {number(change.after, name, change.unit)} for each of {items} before and after, and for "
                "one answer to all of them: it shows no difference between answers"
            )
            return Statement("No gain can be seen", f"cannot be seen. {text}", short=text)
        if change.before != change.after and not loss_ruled_out:
            return Statement("Lost, or chance", f"lost, or chance. {of_all}; {lost_at_most}", Tone.flagged, (
                f"{moved}; {lost_at_most}"
            ))  # fmt: skip
        text = f"{right}, so they cannot show a gain"
        text = f"{text}: ask harder ones" if loss_ruled_out else f"{text}, and {lost_at_most}"
        if change.before != change.after:
            text = f"{moved}; {text}"
        return Statement(
            "No gain can be seen", f"cannot be seen. {text}{f'; {loss_bound}' if loss_ruled_out else ''}", short=text
        )
    if at_worst(change) and change.before == change.after and change.higher_is_better and change.least is not None:
        right = f"none of {items} is answered right, before or after"
        text = f"{name} is 0%: {right}; a gain of more than {_amount(upper, change, name)} is ruled out ({sure})"
        if nearer:
            return Statement("Better in part", f"in part. {nearer}; {text}", Tone.neutral, f"{nearer}; {right}")
        return Statement("No gain", f"no. {text}", Tone.neutral, right)
    if change.margin is not None and upper <= change.margin:
        ruled_out = f"a gain of more than {_amount(upper, change, name)} is ruled out ({sure})"
        if loss_ruled_out:
            either = f"a gain or a loss of more than {_amount(change.margin, change, name)} is ruled out ({sure})"
            return Statement("Neither better nor worse", f"no. {of_all}; {either}", Tone.neutral, moved)
        return Statement("No gain", f"no. {of_all}; {ruled_out}", Tone.neutral, moved)
    if loss_ruled_out:
        text = f"{of_all}, {between}"
        return Statement("No gain shown", f"not shown. {text}; {loss_bound}", Tone.neutral, f"{moved}, {between}")
    if change.clusters and change.clusters < FEWEST_GROUPS:
        reason = (
            f"these {change.item}s are {count(change.clusters, 'group')} of similar ones, and no difference can show "
            f"with fewer than {FEWEST_GROUPS}"
        )
        return Statement(
            "Too few groups to tell", f"too few groups to tell. {of_all}; {reason}", Tone.neutral, f"{moved}; {reason}"
        )
    power = f"with {items}, only a difference of about {_amount(change.least, change, name)} or more is likely to show"
    if change.least is None:
        power = f"{items} {'is' if change.pairs == 1 else 'are'} too few to show any difference"
    left_out = f"; {change.leaked} more are answered by training rows" if change.leaked else ""
    return Statement(
        f"Too few {change.item}s to tell",
        f"not shown. {of_all}, {between}; {power}",
        Tone.neutral,
        f"{of_all if left_out else moved}, {between}{left_out}",
    )


def _held_back_statement(change: Change, moved: str, of_all: str, name: str, sure: str) -> Statement:
    """Say why a difference is not a gain, or why it is a loss."""
    scores = number(change.constant, name, change.unit)
    constant = f'the same answer to all prompts, "{_quote(change.constant_answer)}", scores {scores}'
    if change.held_back in {"constant", "dealt"}:
        head = "No better than one answer to everything"
        if change.held_back == "dealt":
            head, constant = "No better than answers to other prompts", f"its answers to other prompts score {scores}"
        return Statement(head, f"not shown. {of_all}, but {constant}", Tone.flagged, f"{moved}, but {constant}")
    before, after = (number(value, name, change.unit) for value in (change.content_before, change.content_after))
    if change.outcome is Outcome.worse:
        improved = ((change.after or 0.0) - (change.before or 0.0)) * (1 if change.higher_is_better else -1) > 0
        lost = "the answers lost content" + (" and gained only form" if improved else "")
        text = f"but if only the content of an answer counts, it {_verb(change)} from {before} to {after}"
        return Statement("Worse", f"no, {lost}. {of_all}, {text}", Tone.lost, f"{lost}: {moved}, {text}")
    text = f"but if only the content of an answer counts, it was {before} before and is {after} after"
    form, head = "in form only", "Better in form only"
    lower, upper = _bounds(change.content_low, change.content_high, change)
    if before != after and upper > (change.margin or 0.0):  # a gain is not shown, and not ruled out
        form, head = "in form; in content not shown", "Better in form; no gain in content shown"
        text += f", {_interval_text(lower, upper, change, name, sure)}"
    short = f"{moved}, {text}"
    gap = ((change.after or 0.0) - (change.constant or 0.0)) * (1 if change.higher_is_better else -1)
    if change.constant is not None and gap <= (change.margin or 0.0):  # the answer scores as well, up to the margin
        text += f"; {constant} too"
    return Statement(head, f"{form}. {of_all}, {text}", Tone.flagged, short)


def _verb(change: Change) -> str:
    return "rose" if (change.content_after or 0.0) > (change.content_before or 0.0) else "fell"


def _gain_bounds(change: Change) -> tuple[float, float]:
    """Return the least and the greatest gain, positive if the measure got better."""
    return _bounds(change.low, change.high, change)


def _bounds(low: float | None, high: float | None, change: Change) -> tuple[float, float]:
    lower, upper = -math.inf if low is None else low, math.inf if high is None else high
    return (lower, upper) if change.higher_is_better else (-upper, -lower)


def at_best(change: Change) -> bool:
    """Whether a share was at its best before."""
    share = change.kind in {MeasureKind.content, MeasureKind.form} and not change.unit
    return share and change.before == (1.0 if change.higher_is_better else 0.0)


def _change_text(name: str, change: Change, items: str = "") -> str:
    """Say how a measure changed: `exact_match rose from 0% to 93% on 60 prompts`."""
    before, after = (number(value, name, change.unit) for value in (change.before, change.after))
    of_all = f" on {items}" if items else ""
    if name.endswith(Measure.WINS):  # of which there is none before
        judge_name = name.removesuffix(Measure.WINS)
        return f"{judge_name} prefers {after} of the trained model's answers{of_all} to the base's (even: 50%)"
    if name.endswith(Measure.VS_RANDOM):
        metric = name.removesuffix(Measure.VS_RANDOM)
        return f"{metric} is {after} if the reward chooses the answers, and {before} if chance does{of_all}"
    if change.compared:  # of two answers, which chance prefers as often as not
        return f"{name} is {after}{of_all} (chance: {before})"
    if before == after:
        return f"{name} is {after}{of_all}, before and after"
    verb = "rose" if (change.after or 0.0) > (change.before or 0.0) else "fell"
    return f"{name} {verb} from {before} to {after}{of_all}"


def _significant_text(name: str, change: Change, sure: str = "") -> str:
    """Say how a measure changed significantly: by its interval first if it is from an early look, as it is biased."""
    lower, upper = sorted(map(abs, _gain_bounds(change)))
    if not change.early or not math.isfinite(upper):
        return _change_text(name, change)
    before, after = (number(value, name, change.unit) for value in (change.before, change.after))
    verb = "rose" if (change.after or 0.0) > (change.before or 0.0) else "fell"
    amount = f"by {_size(lower, change, name)[0]} to {_amount(upper, change, name)}"
    return (
        f"{name} {verb} {amount}{f' ({sure})' if sure else ''}; an early look at {count(change.pairs, change.item)} "
        f"estimates {before} before and {after} after"
    )


def _interval_text(lower: float, upper: float, change: Change, name: str, sure: str) -> str:
    """Write the interval of a gain, `between -3 and +12 points`."""
    if not math.isfinite(upper - lower):
        return f"by an unknown amount ({sure})"
    if change.after is not None and is_share(change.after, name, change.unit):
        return f"between {100 * lower:+.0f} and {100 * upper:+.0f} points ({sure})"
    return f"between {lower:+.3g} and {upper:+.3g}{f' {change.unit}' if change.unit else ''} ({sure})"


def _amount(value: float | None, change: Change, name: str) -> str:
    """Write a size of a difference in the unit of a measure."""
    return " ".join(filter(None, _size(value, change, name)))


def _size(value: float | None, change: Change, name: str) -> tuple[str, str]:
    """Write a size of a difference, and its unit."""
    if value is None:
        return "-", ""
    if change.after is None or not is_share(change.after, name, change.unit):
        return f"{value:.3g}", change.unit
    points = f"{100 * value:.0f}" if value >= 0.01 else f"{100 * value:.1g}"  # noqa: PLR2004 - one point
    return points, "point" if points == "1" else "points"


def _quote(text: str) -> str:
    text = visible(text, "⏎")
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


# --- a line for each aspect, and the details -------------------------------------------------------------------------


def _task_lines(
    changes: Mapping[str, Change], primary: str, gained: Outcome | None, *, leak: str, chosen: str
) -> Iterator[tuple[str, Tone]]:
    """Give the other lines about the task."""
    for name, change in changes.items():
        if change.not_finite and change.outcome is Outcome.worse and name != primary and change.aspect is Aspect.task:
            yield f"broken: {_not_finite(name, change)}: the weights are damaged, or overflow there", Tone.lost
    worse = _names_with(changes, Outcome.worse, MeasureKind.content, primary)
    if worse := [name for name in worse if not changes[name].not_finite]:
        yield f"lost: {', '.join(_loss_text(name, changes[name]) for name in worse)}", Tone.lost
    if gained is not Outcome.better and (form := _names_with(changes, Outcome.better, MeasureKind.form, primary)):
        yield f"better in form only: {', '.join(form)}", Tone.neutral
    deciding = changes.get(primary)
    if deciding and deciding.answers == 1 and deciding.pairs > 1:
        yield f"constant: the model gives the same answer to all {deciding.pairs} prompts", Tone.flagged
    if leak:
        note = f"; {deciding.leaked} of {deciding.leaked + deciding.pairs} are left out here" if deciding else ""
        yield f"leaked: {leak}{note}", Tone.flagged
    if chosen:
        yield f"chosen: {chosen}", Tone.flagged
    if deciding and deciding.missing:
        text = (
            f"missing: {deciding.missing} of {count(deciding.pairs, 'answer')} have no score before or after: the "
            "verdict holds whether they are counted as the best or as the worst"
        )
        yield text, Tone.flagged


def _harm_lines(concerns: Sequence[Concern], measured: set[Aspect]) -> Iterator[tuple[str, Tone]]:
    """Give the lines about forgetting and copying: shown, ruled out, or unknown; then the remedies, once each."""
    for aspect, word in HARMS.items():
        about = [concern for concern in concerns if concern.aspect is aspect]
        for concern in about:
            if concern.flagged:
                yield f"{word}: yes. {_summary(concern)}", Tone.lost
        unflagged = [concern for concern in about if not concern.flagged]
        if len(unflagged) < len(about):
            continue
        if unknown := [concern for concern in about if concern.unknown]:
            # What its plugin sums up says by itself what is known.
            text = "; ".join(concern.summary or f"not ruled out. {concern.text}" for concern in unknown)
            yield f"{word}: {text}", Tone.flagged if any(concern.harm for concern in unknown) else Tone.neutral
        elif about:
            # Something is certain, but not more than is allowed.
            has_harm = any(concern.harm >= HARM for concern in about)
            yield (
                f"{word}: {'within the limit' if has_harm else 'no'}. {'; '.join(map(_summary, unflagged))}",
                Tone.neutral,
            )
        elif aspect in measured:
            yield f"{word}: measured, but not judged", Tone.neutral
    flagged = [concern for concern in concerns if concern.flagged]
    yield from ((_summary(concern), Tone.flagged) for concern in flagged if concern.aspect is Aspect.task)
    for advice in dict.fromkeys(concern.recommendation for concern in flagged if concern.recommendation):
        yield f"what helps: {advice}", Tone.neutral


def _summary(concern: Concern) -> str:
    return concern.summary or concern.text


def _details(
    changes: Mapping[str, Change], primary: str, config: VerdictConfig, start: str, *, template: bool
) -> Iterator[str]:
    """Give the numbers of the primary measure."""
    change = changes.get(primary)
    if change is None or change.p_value is None or change.before is None:
        return
    groups = f" in {count(change.clusters, 'group')} of similar ones" if change.clusters else ""
    bounds = change.difference(primary)
    parts = [
        f"{_change_text(primary, change, count(change.pairs, change.item))}{groups}",
        *([f"{bounds} at {config.confidence:.0%} confidence"] if bounds else []),
        "p < 0.001" if change.p_value < 0.001 else f"p = {change.p_value:.2g}",  # noqa: PLR2004 - as is the custom
    ]
    yield ", ".join(parts)
    if change.constant is not None and not change.held_back:
        scores = number(change.constant, primary, change.unit)
        # That there is only one answer is a line of its own.
        gives = f"; the model gives {count(change.answers, 'different answer')}" if change.answers > 1 else ""
        answer = _quote(change.constant_answer)
        beyond = (
            f"; the gain over it is at least {_amount(abs(change.beyond), change, primary)}" if change.beyond else ""
        )
        best = f'the best answer that is the same for all prompts, "{answer}", scores'
        if change.constant_answer == DEALT:
            best = "each answer, given to another prompt, scores"
        yield f"{best} {scores}{gives}{beyond}"
    if template and change.outcome in {Outcome.better, Outcome.worse}:
        yield "all prompts follow one template: this holds only for prompts of this template"
    base = change.before if change.content_before is None else change.content_before
    ends = {0.0: (Outcome.better, "fails", "gain"), 1.0: (Outcome.worse, "succeeds", "loss")}
    outcome, chosen_for, part = ends.get(base, (None, "", ""))
    if outcome is not None and change.outcome is outcome and is_share(base, primary, change.unit):
        yield (
            f"{start} scores {base:.0%}: if these prompts were chosen because it {chosen_for}, some of the {part} is "
            "chance (regression to the mean)"
        )
    if change.candidates > 1:
        yield (
            f"these {change.item}s also chose the weights, from {change.candidates} validations: the test allows for "
            "the choice of the best"
        )


def _names_with(changes: Mapping[str, Change], outcome: Outcome, kind: MeasureKind, primary: str) -> list[str]:
    return [
        name
        for name, change in changes.items()
        if name != primary and change.aspect is Aspect.task and change.outcome is outcome and change.kind is kind
    ]


def _measure_lines(changes: Mapping[str, Change], concerns: Sequence[Concern]) -> Iterator[str]:
    """Give the results of the other measures of the task, and the numbers behind each concern."""
    for kind in (MeasureKind.content, MeasureKind.form, MeasureKind.loss):
        changes_of_kind = {
            name: change
            for name, change in changes.items()
            if change.aspect is Aspect.task and change.kind is kind and not change.primary
        }
        words = [
            f"{outcome.value} in {', '.join(names)}"
            for outcome in Outcome
            if (names := [name for name, change in changes_of_kind.items() if change.outcome is outcome])
        ]
        if words:
            yield f"{kind.value}: {'; '.join(words)}"
    for concern in concerns:
        word = HARMS.get(concern.aspect)
        if concern.summary != concern.text and (concern.summary or not (word or concern.flagged)):
            yield f"{word}: {concern.text}" if word else concern.text
