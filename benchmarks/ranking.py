"""How often a sweep names a winner that is none, and how often its intervals hold the truth, by cells.

    nice -n 19 python -m benchmarks.ranking            prints the tables that docs/explanation/verdict.md sums up
    nice -n 19 python -m benchmarks.ranking --runs 100 fewer simulations

In the null cells all trials are equally good in the mean: they answer some prompts differently, or many prompts a
little better and few much worse, or whole clusters differently. In the others one trial is better, or some trials are.
It takes about half an hour on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.api.records import Measure, MeasureKind, Standing
from framework.api.schema import VerdictConfig
from framework.evaluate.ranking import lead, rank

Floats = NDArray[np.float64]
Random = np.random.Generator
RUNS = 1000
CONFIG = VerdictConfig(resamples=999)
SHAPES = ((2, 32), (8, 32), (20, 32), (20, 60))
"""How many trials, and how many prompts."""
LEVEL = 0.05


@dataclass(frozen=True)
class Drawn:
    """Scores of trials, shape (trials, seeds, items), and what each trial scores in truth."""

    scores: Floats
    truth: Floats
    weights: Floats | None = None
    clusters: NDArray[np.int64] | None = None
    loss: bool = False


def right(random: Random, trials: int, items: int, gain: Floats | float = 0.0, same: float = 0.7) -> Drawn:
    """Draw 0/1 scores: a prompt is as hard for all trials, and `same` of the answers are the same for all."""
    hard = random.beta(1.2, 1.2, items)
    truth = np.clip(0.5 + np.broadcast_to(gain, (trials,)), 0, 1)
    shared, own = random.random(items), random.random((trials, items))
    drawn = np.where(random.random(items) < same, shared, own)
    # The odds are moved so that the mean over all prompts moves by the gain.
    chance = np.where(truth[:, None] <= 0.5, 2 * truth[:, None] * hard, 1 - 2 * (1 - truth[:, None]) * (1 - hard))
    return Drawn((drawn < chance).astype(float)[:, None], truth)


def clustered(random: Random, trials: int, items: int, gain: Floats | float = 0.0) -> Drawn:
    """Draw graded scores in clusters of four that share most of the effect of a trial."""
    numbers = np.arange(items) // 4
    truth = 0.5 + np.broadcast_to(gain, (trials,))
    level = random.beta(2, 2, numbers.max() + 1)[numbers]
    effect = random.normal(0, 0.1, (trials, numbers.max() + 1))[:, numbers] + random.normal(0, 0.05, (trials, items))
    # Symmetric around a half, so that the ends of the scale do not move the mean.
    return Drawn(np.clip(level * 0.2 + 0.4 + effect + (truth - 0.5)[:, None], 0, 1)[:, None], truth, clusters=numbers)


def _tail(random: Random, shape: tuple[int, ...]) -> Floats:
    return 0.3 * (random.pareto(2.5, shape) - 1 / 1.5)


def skewed(random: Random, trials: int, items: int, gain: Floats | float = 0.0) -> Drawn:
    """Draw losses by tokens: against the first trial, others gain a little on many rows and lose much on few."""
    weights = np.exp(random.normal(3.5, 0.6, items)).round() + 1
    base = random.gamma(4, 0.25, items)
    moved = np.concatenate([np.zeros((1, items)), _tail(random, (trials - 1, items))])
    truth = 1.0 - np.broadcast_to(gain, (trials,))
    return Drawn((base + moved + (truth - 1)[:, None])[:, None], truth, weights=weights, loss=True)


def alike(random: Random, trials: int, items: int, gain: Floats | float = 0.0) -> Drawn:
    """Draw losses of which each trial is skewed by itself."""
    one = skewed(random, trials + 1, items)
    truth = 1.0 - np.broadcast_to(gain, (trials,))
    return replace(one, scores=one.scores[1:] + (truth - 1)[:, None, None], truth=truth)


def rare(random: Random, trials: int, items: int, gain: Floats | float = 0.0) -> Drawn:
    """Draw 0/1 scores of which nearly all are right for all trials."""
    truth = np.clip(0.95 + np.broadcast_to(gain, (trials,)), 0, 1)
    return Drawn((random.random((trials, items)) < truth[:, None]).astype(float)[:, None], truth)


def seeded(random: Random, trials: int, items: int, gain: Floats | float = 0.0, seeds: int = 3) -> Drawn:
    """Draw losses of which each seed moves all rows together, as much as chance moves the mean of 32 rows."""
    truth = 1.0 - np.broadcast_to(gain, (trials,))
    base = random.gamma(4, 0.25, items)
    own = random.normal(0, 0.3, (trials, seeds, items)) + random.normal(0, 0.05, (trials, seeds, 1))
    return Drawn(base + own + (truth - 1)[:, None, None], truth, loss=True)


KINDS: Mapping[str, Callable[..., Drawn]] = {
    "0/1, 30% of the answers by chance": right,
    "0/1, 95% right": rare,
    "graded, clusters of four": clustered,
    "loss, skewed against one trial": skewed,
    "loss, every trial skewed": alike,
    "loss, three seeds of each point": seeded,
}
GAINS = dict(zip(KINDS, (0.3, 0.05, 0.1, 0.2, 0.2, 0.2), strict=True))
"""By how much the better trial is better."""


def measures(drawn: Drawn) -> list[list[Measure]]:
    """Return scores as evaluations store them."""
    kind = MeasureKind.loss if drawn.loss else MeasureKind.content
    weights = [] if drawn.weights is None else drawn.weights.tolist()
    clusters = [] if drawn.clusters is None else drawn.clusters.tolist()
    return [
        [
            Measure(
                float(np.average(items, weights=weights or None)), items.tolist(), weights,
                higher_is_better=not drawn.loss, kind=kind, clusters=clusters,
            )
            for items in seeds
        ]
        for seeds in drawn.scores
    ]  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What one sweep says: of each, whether it is wrong, or whether it finds what is true."""

    winner: bool
    right_winner: bool
    worse: float
    wrong: bool
    plain_wrong: bool
    plain_worse: float
    value: bool
    plain_value: bool
    width: float
    plain_width: float
    lead: bool
    lead_width: float


def sweep(drawn: Drawn) -> Found:
    """Rank trials, and compare what is said with the truth and with what uncorrected tests say."""
    given = measures(drawn)
    ranking = rank(given, CONFIG)
    truth, sign = drawn.truth, -1 if drawn.loss else 1
    place = next(number for number, one in enumerate(ranking.points) if ranking.leader in one.trials)
    best = ranking.points[place]
    worse = [number for number, one in enumerate(ranking.points) if one.standing is Standing.worse]
    # What one would say without a correction: each trial against the best, and the interval of the best by itself.
    firsts = [seeds[0] for seeds in given]
    plain = [
        number
        for number, one in enumerate(firsts)
        if number != place and lead(firsts[place], one, CONFIG, level=LEVEL).clear
    ]
    alone = rank([[firsts[place]]], CONFIG).points[0]
    good = np.flatnonzero(sign * truth >= (sign * truth).max() - 1e-12).tolist()
    lesser = [number for number in range(len(truth)) if number not in good]
    ahead = float(sign * truth[place] - max(np.delete(sign * truth, place)))
    return Found(
        winner=ranking.clear,
        right_winner=ranking.clear and len(good) == 1 and place in good,
        worse=np.mean([number in worse for number in lesser]).item() if lesser else math.nan,
        wrong=any(number in good for number in worse),
        plain_wrong=any(number in good for number in plain),
        plain_worse=np.mean([number in plain for number in lesser]).item() if lesser else math.nan,
        value=_holds(best.low, best.high, float(truth[place])),
        plain_value=_holds(alone.low, alone.high, float(truth[place])),
        width=_width(best.low, best.high),
        plain_width=_width(alone.low, alone.high),
        lead=_holds(ranking.lead_low, ranking.lead_high, ahead),
        lead_width=_width(ranking.lead_low, ranking.lead_high),
    )


def _holds(low: float | None, high: float | None, truth: float) -> bool:
    return (low is None or low <= truth + 1e-9) and (high is None or truth - 1e-9 <= high)


def _width(low: float | None, high: float | None) -> float:
    return math.inf if low is None or high is None else high - low


@dataclass(frozen=True)
class Cell:
    """The shares of the sweeps of one kind, and the median widths."""

    kind: str
    trials: int
    items: int
    found: Mapping[str, float]


def cells(runs: int, *, gain: bool, shapes: tuple[tuple[int, int], ...] = SHAPES, seed: int = 1) -> Iterator[Cell]:
    """Give each kind and shape, without an effect, or with one trial of four that is better."""
    for kind, draw in KINDS.items():
        for trials, items in shapes:
            random = np.random.default_rng([seed, trials, items])
            better = np.where(np.arange(trials) == trials // 2, GAINS[kind], 0.0) if gain else 0.0
            found = [sweep(draw(random, trials, items, better)) for _ in range(runs)]
            shares = {
                name: float((np.median if "width" in name else np.mean)([getattr(one, name) for one in found]))
                for name in Found.__annotations__
            }
            yield Cell(kind, trials, items, shares)


COLUMNS = {
    False: {
        "a winner": "winner", "one called worse": "wrong", "the same, uncorrected": "plain_wrong",
        "value of the best": "value", "width": "width", "the same, uncorrected ": "plain_value",
        "width ": "plain_width", "its lead": "lead",
    },
    True: {
        "the right winner": "right_winner", "others called worse": "worse", "the same, uncorrected": "plain_worse",
        "value of the best": "value", "its lead": "lead", "width": "lead_width",
    },
}  # fmt: skip


def table(found: list[Cell], *, gain: bool) -> Iterator[str]:
    """Write cells as a table of Markdown."""
    columns = COLUMNS[gain]
    yield table_head("", "trials", "prompts", *map(str.strip, columns))
    for cell in found:
        shown = (f"{cell.found[name]:{'.2f' if 'width' in name else '.3f'}}" for name in columns.values())
        yield table_row(cell.kind, cell.trials, cell.items, *shown)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    for gain in (False, True):
        for line in table(list(cells(runs, gain=gain)), gain=gain):
            OUT.print(line)
        OUT.print()


if __name__ == "__main__":
    main()
