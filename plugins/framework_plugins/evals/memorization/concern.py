"""The concern about memorization: whether training rows are recited beyond what the task explains.

A row counts by what the tuned model gives of it beyond the base. What held-out rows of the same task show is taken off:
a task that is well learned is answered word for word on both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from framework.api import Aspect, Concern, EvalResult, Measure, Results
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.excess import Excess, excess

NAME = "memorization"
NOT_MEASURED = "memorization is not measured: "
"""How the evaluator's note begins if no row can be asked; the reason follows."""
KINDS = ("verbatim", "common_run")
"""The whole answer, and its longest stretch: each may show what is copied."""
MAX_NAMED_ROWS = 3
"""Rows that are named at most."""
RECOMMENDATION = (
    "Train for fewer epochs, at a lower learning rate or rank, on more rows without duplicates; and remove from the "
    "rows what not everyone may see: whoever has the model can ask for it"
)
MANY = 1000
"""Times as many rows, of whose mean nothing is uncertain."""
Measures = Mapping[str, Measure]


def memorization_concern(config: MemorizationConfig, results: Results, confidence: float) -> Concern | None:
    """Judge how much the model recites.

    Args:
        config: of the evaluator.
        results: the measures of base and tuned model.
        confidence: how sure a flag has to be, such as 0.95.

    Returns:
        An unknown concern if no training row can be asked; None without results.
    """
    after = results.after.measures
    if "verbatim_train" not in after:
        notes = (note.partition(NOT_MEASURED) for note in results.after.notes)
        text = next((f"not measured, because {why}" for _, begin, why in notes if begin), "")
        return Concern(NAME, Aspect.copying, text, "", flagged=False, unknown=True, summary=text) if text else None
    before = _base_measures(results.before, after)
    without_held_out = "verbatim_heldout" not in after
    excesses = [excess_of(kind, before, after, confidence) for kind in KINDS]
    strongest = max(excesses, key=lambda estimate: estimate.low)
    allowed = config.excess_alone if without_held_out else config.excess
    flagged, highest = strongest.low > allowed, max(estimate.high for estimate in excesses)
    unknown = not (flagged or highest <= allowed)  # NaN is not ruled out
    sentences = [*_recital_sentences(config, before, after)]
    if strongest.low > 0:
        sentences += [
            *_likelihood_sentences(after),
            _certainty(strongest, confidence),
            f"most of all {', '.join(_worst_rows(before, after))}",
        ]
    else:
        beyond = f"at most {_bound(highest)} of the rows are recited beyond the task ({confidence:.0%} confidence)"
        limit = f"; more than excess={allowed:g} is not ruled out; more rows would narrow this" if unknown else ""
        sentences += [beyond + limit]
    harm = max(0.0, strongest.low)  # as much as is certain
    counts = [len(after[f"verbatim_{part}"].items) for part in ("train", "heldout") if f"verbatim_{part}" in after]
    remedy = "more held-out rows" if counts[-1] < counts[0] else "more rows"
    summary = _summary(strongest.low, highest, allowed, confidence, remedy if unknown else "")
    return Concern(NAME, Aspect.copying, "; ".join(sentences), RECOMMENDATION, flagged, harm, unknown, summary)


def _bound(high: float) -> str:
    """Write an upper bound in whole percent that it does not exceed: one above a limit of 10% is not 10%."""
    return f"{math.ceil(100 * max(high, 0.0))}%" if math.isfinite(high) else f"{high:.0%}"


def _summary(low: float, high: float, allowed: float, confidence: float, remedy: str) -> str:
    """Return how many rows are recited, as far as that is known; `remedy` names the way to learn more."""
    sure, part = (
        f"({confidence:.0%} confidence)",
        "of the training rows are recited beyond what learning the task explains",
    )
    if low > allowed:
        return f"at least {low:.0%} {part} {sure}"
    if low > 0:
        return f"{low:.0%} to {_bound(high)} {part} {sure}; the limit is {allowed:.0%}"
    beyond = f"at most {_bound(high)} {part} {sure}"
    return f"{beyond}; {remedy} are needed to rule out more than {allowed:.0%}" if remedy else beyond


def more_rows_help(config: MemorizationConfig, results: Results, confidence: float) -> bool:
    """Whether more training rows could decide about copying, with no more held-out rows."""
    after = results.after.measures
    if "verbatim_heldout" not in after or len(after["verbatim_heldout"].items) >= len(after["verbatim_train"].items):
        return True
    before = _base_measures(results.before, after)
    excesses = [excess_of(kind, before, after, confidence, times=MANY) for kind in KINDS]
    return any(estimate.low > config.excess for estimate in excesses) or all(
        estimate.high <= config.excess for estimate in excesses
    )


def excess_of(kind: str, before: Measures, after: Measures, confidence: float, times: int = 1) -> Excess:
    """Return how much more the tuned model recites of training rows than of held-out rows, less the base's share.

    `times`: multiplies the training rows, as if there were more of the same.
    """
    names = [f"{kind}_{part}" for part in ("train", "heldout")]
    train, held_out = (_gains_over_base(before, after, name) for name in names)
    of_train, of_held_out = (after[name].clusters if name in after else [] for name in names)
    return excess(train, held_out, after[f"{kind}_train"].this_look(confidence), of_train, of_held_out, times)


def _base_measures(before: EvalResult | None, after: Measures) -> Measures:
    """Return the base's measures of the same rows; empty if the base was measured on other rows or not at all."""
    measures = before.measures if before else {}
    return {
        name: measure
        for name, measure in measures.items()
        if measure.where and name in after and measure.where == after[name].where
    }


def _gains_over_base(before: Measures, after: Measures, name: str) -> Sequence[float]:
    """Return for each row how much more of it the tuned model recites than the base."""
    now = after[name].items if name in after else []
    then = before[name].items if name in before else [0.0] * len(now)
    return [max((late or 0.0) - (early or 0.0), 0.0) for late, early in zip(now, then, strict=True)]  # NaN stays


def _recital_sentences(config: MemorizationConfig, before: Measures, after: Measures) -> Iterator[str]:
    """Say how many rows the trained model and the base recite."""
    cut = max(after["common_run_train"].weights) >= config.max_new_tokens
    end = f" for {config.max_new_tokens} tokens or to the end" if cut else ""
    rows = len(after["verbatim_train"].items)
    text = f"{_recited_count(after)} of {rows} training rows are answered word for word"
    if "verbatim_heldout" in after:
        held_out = f"{_recited_count(after, 'heldout')} of {len(after['verbatim_heldout'].items)} held-out rows"
        yield f"{text}{end}, and {held_out}, which were not trained on"
    else:
        yield f"{text}{end}, and too few rows are held out to compare with"
    if "verbatim_train" in before:
        of_both = f" and {_recited_count(before, 'heldout')}" if "verbatim_heldout" in before else ""
        yield f"by the base {_recited_count(before)}{of_both}"
    else:
        yield "the base was not asked about them"


def _likelihood_sentences(after: Measures) -> Iterator[str]:
    """Say how probable the answers are, and how long the longest recited stretches."""
    for name, text in (("verbatim", "the probability of an answer is"), ("common_run", "its longest stretch is")):
        held_out = f", and {after[f'{name}_heldout'].value:.0%} held out" if f"{name}_heldout" in after else ""
        yield f"{text} {after[f'{name}_train'].value:.0%}{held_out}"


def _certainty(estimate: Excess, confidence: float) -> str:
    beyond = f"that is {estimate.value:.0%} beyond what learning the task explains"
    return f"{beyond}, at least {estimate.low:.0%} ({confidence:.0%} sure)"


def _worst_rows(before: Measures, after: Measures) -> list[str]:
    """Return the places of the rows whose recited stretch grew most over the base."""
    runs, measure = _gains_over_base(before, after, "common_run_train"), after["common_run_train"]
    tokens = [share * length for share, length in zip(runs, measure.weights, strict=True)]
    order = sorted(range(len(tokens)), key=lambda index: tokens[index], reverse=True)
    return [measure.where[index] for index in order[:MAX_NAMED_ROWS] if tokens[index] > 0]


def _recited_count(measures: Measures, part: str = "train") -> str:
    """Return how many rows of a part are answered word for word, greedily; `none` for none."""
    return str(measures[f"common_run_{part}"].items.count(1.0) or "none")
