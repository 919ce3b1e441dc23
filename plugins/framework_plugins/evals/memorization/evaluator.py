"""`evaluator=memorization`: how much the model recites of rows that it was trained on, and of rows that were held out.

The same rows are asked each time, so that base and tuned model can be compared row by row: a few at first, more only
while these decide nothing. `concern.py` says what the difference comes to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from framework.api import AnyMetric, Aspect, Data, EvalResult, Measure, Model, Results, Scored
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
class Asked:
    """The rows of each part, how many of them each look takes, and what is to be said about the choice.

    `scored` has what the model gave of the held-out rows; empty if it was not asked. `clusters` has the cluster of each
    row of a part; empty if all are different.
    """

    rows: dict[str, list[TokenRow]]
    sizes: list[int]
    notes: list[str]
    scored: list[Scored]
    clusters: dict[str, list[int]]


class Memorization:
    """Training rows beside held-out rows."""

    def __init__(self, config: MemorizationConfig) -> None:
        self.config = config

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Read the rows of the first look."""
        return self.look(1, model, data, metrics)

    def looks(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> int:  # noqa: ARG002 - the protocol's
        """Return how many looks there are."""
        return max(1, len(self._asked(model, data).sizes))

    def look(
        self,
        number: int,
        model: Model,
        data: Data,
        metrics: Mapping[str, AnyMetric],  # noqa: ARG002 - the protocol's signature
        seen: EvalResult | None = None,
    ) -> EvalResult:
        """Read the rows of look `number` that are not in `seen`; `recital.py` says why nothing has to be generated."""
        asked = self._asked(model, data)
        if not asked.sizes:
            return EvalResult({}, notes=asked.notes)
        parts = {part: rows[: asked.sizes[number - 1]] for part, rows in asked.rows.items()}
        known = {part: _known(seen, part, rows) for part, rows in parts.items()}
        if asked.scored:
            known[HELD_OUT] = [*map(recital, parts[HELD_OUT], asked.scored)]
        missing = [row for part, rows in parts.items() for row in rows[len(known[part]) :]]
        read = map(recital, missing, model.score(missing) if missing else [])
        recitals = {part: [*known[part], *islice(read, len(rows) - len(known[part]))] for part, rows in parts.items()}
        measures = dict[str, Measure]()
        for part, rows in parts.items():
            measures |= _measures(part, rows, recitals[part], 1 / len(asked.sizes), asked.clusters[part][: len(rows)])
        if HELD_OUT in parts:
            shares = [measures[f"verbatim_{part}"].value for part in parts]
            # It has no items: the rows of two groups are not pairs. The concern has the interval.
            measures["verbatim_excess"] = Measure(shares[0] - shares[1], aspect=Aspect.copying)
        return EvalResult(measures, notes=asked.notes)

    def decided(self, results: Results, confidence: float) -> bool:
        """Whether copying is certain, or ruled out, or more training rows would not show it either."""
        concern = memorization_concern(self.config, results, confidence)
        if concern is None or not concern.unknown:
            return True
        few = len(results.after.measures[f"verbatim_{TRAIN}"].items) <= LOOKS[0]  # which may mislead
        return not few and not more_rows_help(self.config, results, confidence)

    def _asked(self, model: Model, data: Data) -> Asked:
        """Choose the rows, the same each time."""
        train, held_out = sample_rows(data.train, self.config), sample_rows(data.validation, self.config)
        few = len(held_out.rows) < MIN_HELD_OUT_ROWS
        if few:
            train = with_unique_words(train, model)
        rows = {TRAIN: train.rows[: self.config.rows]}
        if not few:
            rows[HELD_OUT] = held_out.rows[: self.config.rows]
        most = max(map(len, rows.values())) if rows[TRAIN] else 0
        sizes = [*(size for size in LOOKS if 2 * size <= most), *([most] if most else [])]
        scored = [
            scored_part(data.validation[number], row, data.scored[number])
            for number, row in zip(held_out.numbers, rows.get(HELD_OUT, ()), strict=False)
            if data.scored
        ]
        clusters = {
            part: [given[number] for number in drawn.numbers[: len(rows[part])]] if given else []
            for part, drawn, given in (
                (TRAIN, train, data.train_clusters),
                (HELD_OUT, held_out, data.clusters),
            )
            if part in rows
        }
        return Asked(rows, sizes, list(_notes(train, held_out, self.config.min_tokens, few=few)), scored, clusters)


def _known(seen: EvalResult | None, part: str, rows: Sequence[TokenRow]) -> list[Recital]:
    """Return what an earlier look has of these rows; nothing if it was at others."""
    probable, run = (seen.measures.get(f"{name}_{part}") if seen else None for name in ("verbatim", "common_run"))
    if probable is None or run is None:
        return []
    known = list(zip(probable.where, probable.items, run.items, strict=True))[: len(rows)]
    same = all(where == row.where for (where, _, _), row in zip(known, rows, strict=False))
    return [Recital(one or 0.0, two or 0.0) for _, one, two in known] if same else []


def _measures(
    part: str, rows: Sequence[TokenRow], recitals: Sequence[Recital], share: float, clusters: list[int]
) -> dict[str, Measure]:
    """Return what was recited of rows; the longest run weighs by the tokens of its answer."""
    tokens = [float(row.supervised) for row in rows]
    figures: dict[str, tuple[list[float], list[float]]] = {
        "verbatim": ([one.probable for one in recitals], []),
        "common_run": ([one.run for one in recitals], tokens),
    }
    where = [row.where for row in rows]
    return {
        f"{name}_{part}": Measure(
            fmean(items, weights or None), [*items], weights, higher_is_better=True, aspect=Aspect.copying, where=where,
            look_share=share, clusters=clusters if len({*clusters}) < len(clusters) else [],
        )
        for name, (items, weights) in figures.items()
    }  # fmt: skip


def _notes(train: SampledRows, held_out: SampledRows, fewest: int, *, few: bool) -> Iterator[str]:
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
    for name, drawn in (("training", train), ("held-out", held_out)):
        if drawn.short:
            yield (
                f"memorization: {drawn.short} of {drawn.looked_at} {name} rows are left out: "
                f"their answers have fewer than {fewest} tokens"
            )
    if few:
        yield (
            f"memorization: fewer than {MIN_HELD_OUT_ROWS} held-out rows, so the comparison is with the base model "
            f"only, on rows whose answers hold a word that neither the prompt nor another answer has "
            f"({train.common} of {train.looked_at} hold none)"
        )
