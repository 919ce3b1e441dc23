"""`evaluator=memorization`: how much the model recites of rows that it was trained on, and of rows that were held out.

The same rows are asked each time, so that base and tuned model can be compared row by row. `concern.py` says what
the difference comes to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from framework.api import Aspect, Data, EvalResult, Measure, Metric, Model
from framework.api.training import TokenRow
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.drawn import Drawn, draw, with_own_words
from framework_plugins.evals.memorization.recital import Recital, recital

FEWEST = 4
"""Held-out rows that can stand for the task; of fewer one that is hard or easy would decide."""


class Memorization:
    """Training rows beside held-out rows."""

    def __init__(self, config: MemorizationConfig) -> None:
        self.config = config

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, Metric]) -> EvalResult:  # noqa: ARG002
        """Read the rows once; `recital.py` says why nothing has to be generated."""
        train, held_out = draw(data.train, self.config), draw(data.validation, self.config)
        few = len(held_out.rows) < FEWEST
        if few:
            train = with_own_words(train, model)
        notes = list(_notes(train, held_out, self.config.min_tokens, few=few))
        rows = train.rows[: self.config.rows]
        if not rows:
            return EvalResult({}, notes=notes)
        beside = [] if few else held_out.rows[: self.config.rows]
        scored = model.score([*rows, *beside])
        recitals = [recital(row, one) for row, one in zip([*rows, *beside], scored, strict=True)]
        trained_on, unseen = recitals[: len(rows)], recitals[len(rows) :]
        measures = _measures("train", rows, trained_on)
        if beside:
            measures |= _measures("heldout", beside, unseen)
            measures["verbatim_excess"] = _excess(trained_on, unseen)
        return EvalResult(measures, notes=notes)


def _measures(part: str, rows: Sequence[TokenRow], recitals: Sequence[Recital]) -> dict[str, Measure]:
    """Return what was recited of rows; the longest run counts as a share of its answer, which weighs by its tokens."""
    tokens = [float(len(one.hits)) for one in recitals]
    figures: dict[str, tuple[list[float], list[float]]] = {
        "verbatim": ([float(one.verbatim) for one in recitals], []),
        "prefix": ([float(one.finished) for one in recitals], []),
        "common_run": ([one.run / len(one.hits) for one in recitals], tokens),
    }
    where = [row.where for row in rows]
    return {
        f"{look}_{part}": Measure(
            fmean(items, weights or None), [*items], weights, higher_is_better=True, aspect=Aspect.copying, where=where
        )
        for look, (items, weights) in figures.items()
    }


def _excess(train: Sequence[Recital], held_out: Sequence[Recital]) -> Measure:
    """Return the share of training rows given verbatim less that of held-out rows.

    It has no items: the rows of two groups are no pairs. The concern has the interval.
    """
    shares = [fmean(float(one.verbatim) for one in part) for part in (train, held_out)]
    return Measure(shares[0] - shares[1], aspect=Aspect.copying)


def _notes(train: Drawn, held_out: Drawn, fewest: int, *, few: bool) -> Iterator[str]:
    if not train.rows:
        reasons = [
            f"{count} of {train.looked_at} training rows {reason}"
            for count, reason in (
                (train.short, f"have an answer of fewer than {fewest} tokens"),
                (train.common, "have an answer without a word of its own"),
            )
            if count
        ]
        yield f"memorization is not measured: {' and '.join(reasons) or 'there are no training rows'}"
        return
    for name, drawn in (("training", train), ("held-out", held_out)):
        if drawn.short:
            yield (
                f"memorization: {drawn.short} of {drawn.looked_at} {name} rows are left out: "
                f"their answers have fewer than {fewest} tokens"
            )
    if few:
        yield (
            f"memorization: fewer than {FEWEST} held-out rows, so the comparison is with the base model only, "
            f"on rows whose answers hold a word that neither the prompt nor another answer has "
            f"({train.common} of {train.looked_at} hold none)"
        )
