"""The concern about memorization: whether training rows are recited beyond what the task explains.

A row counts if the tuned model recites it and the base did not. What held-out rows of the same task show is taken
off: a task that is well learned is answered word for word on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from framework.api import Aspect, Concern, EvalResult, Measure, Results
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.excess import Excess, excess

NAME = "memorization"
KINDS = ("verbatim", "prefix", "common_run")
"""The prompt is answered, half of the answer is finished, the longest stretch: each may show what is copied."""
MAX_NAMED_ROWS = 3
"""Rows that are named at most."""
RECOMMENDATION = (
    "Train for fewer epochs, at a lower learning rate or rank, on more rows without duplicates; and remove from the "
    "rows what not everyone may see: whoever has the model can ask for it"
)
Measures = Mapping[str, Measure]


def memorization_concern(config: MemorizationConfig, results: Results, confidence: float) -> Concern | None:
    """Judge what was copied.

    Args:
        config: of the evaluator.
        results: what it measured of base and tuned model.
        confidence: how sure a flag has to be, such as 0.95.

    Returns:
        None if no training row was asked.
    """
    after = results.after.measures
    if "verbatim_train" not in after:
        return None
    before = _same_rows(results.before, after)
    alone = "verbatim_heldout" not in after
    excesses = [
        excess(
            _new_recitals(before, after, f"{look}_train"), _new_recitals(before, after, f"{look}_heldout"), confidence
        )
        for look in KINDS
    ]
    most = max(excesses, key=lambda one: one.low)
    allowed = config.excess_alone if alone else config.excess
    flagged, highest = most.low > allowed, max(one.high for one in excesses)
    sentences = [*_word_for_word(config, before, after)]
    if most.low > 0:
        sentences += [
            *_partial(after),
            _certainty(most, confidence),
            f"most of all {', '.join(_worst_rows(before, after))}",
        ]
    elif highest > 0:
        beyond = f"at most {highest:.0%} of the rows are recited beyond the task ({confidence:.0%} confidence)"
        limit = (
            f"; more than excess={allowed:g} is not ruled out; more rows would narrow this" if highest > allowed else ""
        )
        sentences += [beyond + limit]
    unknown = not flagged and highest > allowed
    harm = max(0.0, most.low)  # as much as is certain
    summary = _summary(most.low, highest, allowed, confidence, unknown=unknown)
    return Concern(NAME, Aspect.copying, "; ".join(sentences), RECOMMENDATION, flagged, harm, unknown, summary)


def _summary(low: float, high: float, allowed: float, confidence: float, *, unknown: bool) -> str:
    """Say in a sentence how many rows are recited, as far as that is known."""
    sure, part = (
        f"({confidence:.0%} confidence)",
        "of the training rows are recited beyond what learning the task explains",
    )
    if low > 0:
        limit = f"; the limit is {allowed:.0%}" if low <= allowed else ""
        return f"at least {low:.0%} {part} {sure}{limit}"
    beyond = f"at most {high:.0%} {part} {sure}"
    return f"{beyond}; the limit of {allowed:.0%} takes more rows to rule out" if unknown else beyond


def _same_rows(before: EvalResult | None, after: Measures) -> Measures:
    """Return what the base gave of the same rows; nothing if it was not asked, or about others."""
    measures = before.measures if before else {}
    return {
        name: measure
        for name, measure in measures.items()
        if measure.where and name in after and measure.where == after[name].where
    }


def _new_recitals(before: Measures, after: Measures, name: str) -> Sequence[float]:
    """Return of each row what the tuned model recites and the base did not; nothing if none was asked."""
    now = after[name].items if name in after else []
    then = before[name].items if name in before else [0.0] * len(now)
    return [max(0.0, (late or 0.0) - (early or 0.0)) for late, early in zip(now, then, strict=True)]


def _word_for_word(config: MemorizationConfig, before: Measures, after: Measures) -> Iterator[str]:
    """Say what is recited, of what, and by whom."""
    cut = max(after["common_run_train"].weights) >= config.max_new_tokens
    end = f" for {config.max_new_tokens} tokens or to the end" if cut else ""
    rows = len(after["verbatim_train"].items)
    text = f"{_recited(after, 'verbatim')} of {rows} training rows are answered word for word"
    if "verbatim_heldout" in after:
        held_out = f"{_recited(after, 'verbatim', 'heldout')} of {len(after['verbatim_heldout'].items)} held-out rows"
        yield f"{text}{end}, and {held_out}, which were not trained on"
    else:
        yield f"{text}{end}, and too few rows are held out to compare with"
    if "verbatim_train" in before:
        of_both = f" and {_recited(before, 'verbatim', 'heldout')}" if "verbatim_heldout" in before else ""
        yield f"by the base {_recited(before, 'verbatim')}{of_both}"
    else:
        yield "the base was not asked about them"


def _partial(after: Measures) -> Iterator[str]:
    """Say what shows where part of the answer is given."""
    both = "verbatim_heldout" in after
    half = f"given half of the answer, {_recited(after, 'prefix')} are completed"
    run = f"the longest stretch is {after['common_run_train'].value:.0%} of an answer"
    yield f"{half}, and {_recited(after, 'prefix', 'heldout')} of the held-out ones" if both else half
    yield f"{run}, and {after['common_run_heldout'].value:.0%} of a held-out one" if both else run


def _certainty(most: Excess, confidence: float) -> str:
    beyond = f"that is {most.value:.0%} beyond what learning the task explains"
    return f"{beyond}, at least {most.low:.0%} ({confidence:.0%} sure)"


def _worst_rows(before: Measures, after: Measures) -> list[str]:
    """Return the places of the rows of which the longest stretches are new."""
    runs, measure = _new_recitals(before, after, "common_run_train"), after["common_run_train"]
    tokens = [share * length for share, length in zip(runs, measure.weights, strict=True)]
    order = sorted(range(len(tokens)), key=lambda number: tokens[number], reverse=True)
    return [measure.where[number] for number in order[:MAX_NAMED_ROWS] if tokens[number]]


def _recited(measures: Measures, look: str, part: str = "train") -> str:
    """Return how many rows of a part are recited; `none` for none."""
    return str(round(sum(item or 0.0 for item in measures[f"{look}_{part}"].items)) or "none")
