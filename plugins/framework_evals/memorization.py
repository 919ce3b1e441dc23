"""`evaluator=memorization`: how much the model recites of rows that it was trained on, and of rows that were held out.

The same rows are asked each time, so that base and tuned model can be compared row by row. `memorization_concern.py`
says what the difference comes to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from framework.data import Data
from framework.protocols import Metric, Model
from framework.records import Aspect, EvalResult, Measure, TokenRow
from framework_evals.config import MemorizationConfig
from framework_evals.drawn import Drawn, draw, with_own_words
from framework_evals.recital import Recital, recital

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
            train, held_out = with_own_words(train, model), Drawn([], held_out.looked_at, held_out.short)
        notes = list(_notes(train, held_out, self.config.min_tokens, few=few))
        rows = [train.rows[: self.config.rows], held_out.rows[: self.config.rows]]
        if not rows[0]:
            return EvalResult({}, notes=notes)
        together = [*rows[0], *rows[1]]
        recitals = [recital(row, told) for row, told in zip(together, model.score(together), strict=True)]
        first, second = recitals[: len(rows[0])], recitals[len(rows[0]) :]
        measures = _measures("train", rows[0], first)
        if second:
            measures |= _measures("heldout", rows[1], second)
            measures["verbatim_excess"] = _excess(first, second)
        return EvalResult(measures, notes=notes)


def _measures(part: str, rows: Sequence[TokenRow], recitals: Sequence[Recital]) -> dict[str, Measure]:
    """Return what was recited of some rows; the longest run counts as a share of the answer, weighted by its tokens."""
    where = [row.where for row in rows]
    lengths = [float(len(recital.hits)) for recital in recitals]
    runs = [float(recital.run) for recital in recitals]
    return {
        f"verbatim_{part}": _measure([float(recital.verbatim) for recital in recitals], where),
        f"prefix_{part}": _measure([float(recital.finished) for recital in recitals], where),
        f"common_run_{part}": Measure(
            sum(runs) / sum(lengths),
            [run / length for run, length in zip(runs, lengths, strict=True)],
            lengths,
            higher_is_better=True,
            aspect=Aspect.copying,
            where=where,
        ),
    }


def _measure(items: list[float | None], where: list[str]) -> Measure:
    value = fmean(item for item in items if item is not None)
    return Measure(value, items, higher_is_better=True, aspect=Aspect.copying, where=where)


def _excess(train: Sequence[Recital], held_out: Sequence[Recital]) -> Measure:
    """Return the share of training rows given verbatim less that of held-out rows.

    The items are made so that their weighted mean is that difference, whatever the numbers of rows: each counts double,
    a held-out one is taken off, and each part weighs as much as the other.
    """
    items: list[float | None] = [2.0 * row.verbatim for row in train]
    items += [-2.0 * row.verbatim for row in held_out]
    weights = [1 / len(part) for part in (train, held_out) for _ in part]
    value = fmean(row.verbatim for row in train) - fmean(row.verbatim for row in held_out)
    return Measure(value, items, weights, aspect=Aspect.copying)


def _notes(train: Drawn, held_out: Drawn, fewest: int, *, few: bool) -> Iterator[str]:
    for name, drawn in (("training", train), ("held-out", held_out)):
        if drawn.short:
            yield (
                f"memorization: {drawn.short} of the {drawn.looked_at} {name} rows that were looked at are left out: "
                f"their answers are shorter than {fewest} tokens and tell nothing"
            )
    if few:
        yield (
            f"memorization: fewer than {FEWEST} held-out rows, so the base alone is compared with, "
            f"on rows whose answers hold a word that neither the prompt nor another answer has "
            f"({train.common} of {train.looked_at} hold none)"
        )
    if not train.rows:
        yield "memorization: no training row is left to ask"
