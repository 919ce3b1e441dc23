"""`evaluator=memorization`: how much the model recites of rows that it was trained on, and of rows that were held out.

The same rows are asked each time, so that base and tuned model can be compared row by row: a few at first, more only
while these decide nothing. `concern.py` says what the difference comes to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from framework.api import (
    AnyMetric,
    Aspect,
    Data,
    EvalResult,
    Evaluator,
    Measure,
    Model,
    Results,
    Scored,
)
from framework.api.training import TokenRow
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.concern import NOT_MEASURED, memorization_concern, more_rows_help
from framework_plugins.evals.memorization.drawn import SampledRows, sample_rows, with_unique_words
from framework_plugins.evals.memorization.recital import Recital, recital, scored_part

MIN_HELD_OUT_ROWS = 4
"""Held-out rows that can stand for the task; of fewer one that is hard or easy would decide."""
LOOKS = (40, 96)
"""Rows of each kind after which it may be decided, before all that are asked. The first can rule out 10%."""
TRAIN, HELD_OUT = "train", "heldout"


@dataclass(frozen=True)
class SelectedRows:
    """The rows of each part, the number of rows in each look, and notes about the choice.

    `scored` holds the model's scores of the held-out rows, if it has any. `clusters` has the cluster of each
    row of a part; empty if all are different.
    """

    rows: dict[str, list[TokenRow]]
    sizes: list[int]
    notes: list[str]
    scored: list[Scored]
    clusters: dict[str, list[int]]


class Memorization(Evaluator):
    """Compares how much the model recites of training rows and of held-out rows."""

    def __init__(self, config: MemorizationConfig) -> None:
        self.config = config

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Read the rows of the first look."""
        return self.look(1, model, data, metrics)

    def looks(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> int:  # noqa: ARG002 - the protocol's
        """Return how many looks there are."""
        return max(1, len(self._select_rows(model, data).sizes))

    def look(
        self,
        number: int,
        model: Model,
        data: Data,
        metrics: Mapping[str, AnyMetric],  # noqa: ARG002 - the protocol's signature
        seen: EvalResult | None = None,
    ) -> EvalResult:
        """Read the rows of look `number` that are not in `seen`; `recital.py` says why nothing has to be generated."""
        selection = self._select_rows(model, data)
        if not selection.sizes:
            return EvalResult({}, notes=selection.notes)
        parts = {part: rows[: selection.sizes[number - 1]] for part, rows in selection.rows.items()}
        earlier = {part: _previous_recitals(seen, part, rows) for part, rows in parts.items()}
        if selection.scored:
            earlier[HELD_OUT] = [*map(recital, parts[HELD_OUT], selection.scored)]
        unread_rows = [row for part, rows in parts.items() for row in rows[len(earlier[part]) :]]
        read = map(recital, unread_rows, model.score(unread_rows) if unread_rows else [])
        recitals = {
            part: [*earlier[part], *islice(read, len(rows) - len(earlier[part]))] for part, rows in parts.items()
        }
        measures = dict[str, Measure]()
        for part, rows in parts.items():
            measures |= _measures(
                part, rows, recitals[part], 1 / len(selection.sizes), selection.clusters[part][: len(rows)]
            )
        if HELD_OUT in parts:
            shares = [measures[f"verbatim_{part}"].value for part in parts]
            # It has no items: the rows of two groups are not pairs. The concern has the interval.
            measures["verbatim_excess"] = Measure(shares[0] - shares[1], aspect=Aspect.copying)
        return EvalResult(measures, notes=selection.notes)

    def decided(self, results: Results, confidence: float) -> bool:
        """Whether copying is certain, or ruled out, or more training rows would not show it either."""
        concern = memorization_concern(self.config, results, confidence)
        if concern is None or not concern.unknown:
            return True
        small_sample = len(results.after.measures[f"verbatim_{TRAIN}"].items) <= LOOKS[0]  # which may mislead
        return not small_sample and not more_rows_help(self.config, results, confidence)

    def _select_rows(self, model: Model, data: Data) -> SelectedRows:
        """Choose the rows, the same each time."""
        train, held_out = sample_rows(data.train, self.config), sample_rows(data.validation, self.config)
        too_few = len(held_out.rows) < MIN_HELD_OUT_ROWS
        if too_few:
            train = with_unique_words(train, model)
        rows = {TRAIN: train.rows[: self.config.rows]}
        if not too_few:
            rows[HELD_OUT] = held_out.rows[: self.config.rows]
        row_count = max(map(len, rows.values())) if rows[TRAIN] else 0
        sizes = [*(size for size in LOOKS if 2 * size <= row_count), *([row_count] if row_count else [])]
        scored = [
            scored_part(data.validation[index], row, data.scored[index])
            for index, row in zip(held_out.numbers, rows.get(HELD_OUT, ()), strict=False)
            if data.scored
        ]
        clusters = {
            part: [labels[index] for index in sample.numbers[: len(rows[part])]] if labels else []
            for part, sample, labels in (
                (TRAIN, train, data.train_clusters),
                (HELD_OUT, held_out, data.clusters),
            )
            if part in rows
        }
        return SelectedRows(
            rows, sizes, list(_notes(train, held_out, self.config.min_tokens, too_few=too_few)), scored, clusters
        )


def _previous_recitals(previous: EvalResult | None, part: str, rows: Sequence[TokenRow]) -> list[Recital]:
    """Return the recitals of these rows from an earlier look; empty if it read other rows."""
    probable, run = (
        previous.measures.get(f"{name}_{part}") if previous else None for name in ("verbatim", "common_run")
    )
    if probable is None or run is None:
        return []
    values = list(zip(probable.where, probable.items, run.items, strict=True))[: len(rows)]
    is_same = all(where == row.where for (where, _, _), row in zip(values, rows, strict=False))
    return [Recital(probability or 0.0, length or 0.0) for _, probability, length in values] if is_same else []


def _measures(
    part: str, rows: Sequence[TokenRow], recitals: Sequence[Recital], share: float, clusters: list[int]
) -> dict[str, Measure]:
    """Return the measures of recited rows; the longest run weighs by the tokens of its answer."""
    tokens = [float(row.supervised) for row in rows]
    figures: dict[str, tuple[list[float], list[float]]] = {
        "verbatim": ([result.probable for result in recitals], []),
        "common_run": ([result.run for result in recitals], tokens),
    }
    where = [row.where for row in rows]
    return {
        f"{name}_{part}": Measure(
            fmean(items, weights or None), [*items], weights, higher_is_better=True, aspect=Aspect.copying, where=where,
            look_share=share, clusters=clusters if len({*clusters}) < len(clusters) else [],
        )
        for name, (items, weights) in figures.items()
    }  # fmt: skip


def _notes(train: SampledRows, held_out: SampledRows, fewest: int, *, too_few: bool) -> Iterator[str]:
    if not train.rows:
        reasons = [
            f"{count} of {train.looked_at} training rows {reason}"
            for count, reason in (
                (train.short, f"have an answer of fewer than {fewest} tokens"),
                (train.common, "have an answer without a word of its own"),
            )
            if count
        ]
        yield f"{NOT_MEASURED}{' and '.join(reasons) or 'there are no training rows'}"
        return
    for name, sample in (("training", train), ("held-out", held_out)):
        if sample.short:
            yield (
                f"memorization: {sample.short} of {sample.looked_at} {name} rows are left out: "
                f"their answers have fewer than {fewest} tokens"
            )
    if too_few:
        yield (
            f"memorization: fewer than {MIN_HELD_OUT_ROWS} held-out rows, so the comparison is with the base model "
            f"only, on rows whose answers hold a word that neither the prompt nor another answer has "
            f"({train.common} of {train.looked_at} hold none)"
        )
