"""How often the verdict's tests and intervals are wrong, by cells: exact sums for shares, simulations for the rest.

    nice -n 19 python -m benchmarks.verdict            prints the tables that docs/explanation/verdict.md sums up
    nice -n 19 python -m benchmarks.verdict --runs 500 fewer simulations

False positives are of a training without effect: before and after are swapped at random within each pair, or within
each cluster; or the mean does not change, but many rows get a little better and few much worse. Coverage is of a true
difference. Widths are means, of intervals cut at the ends of the scale. It takes about five minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import OUT, command_line, table_head, table_row
from benchmarks.prompt_kinds import dependent, independent
from framework.api.records import Change, EvalResult, Measure, MeasureKind, Outcome
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare
from framework.evaluate.verdict.compare import holm
from framework.evaluate.verdict.paired import UNSEEN, flip_against_tail, mcnemar, of_means, of_shares, sign_flip
from framework.util.power import least_difference
from framework.util.prompt_clusters import clusters as clusters_by_wording

Floats = NDArray[np.float64]
SIZES = (8, 12, 20, 30, 60, 100, 200)
EMPTY: Mapping[str, Any] = {}
LEVEL = 0.05
RUNS = 12000
CORRELATIONS = (0.3, 0.8)
"""Of the effects on the prompts of one cluster."""
FLIPS = 999
"""Patterns of signs that a simulated test draws: fewer than a run does, which keeps the level and costs less."""


@dataclass(frozen=True)
class Cell:
    """One cell: its kind, how many prompts, and what was found; `width` of coverage alone."""

    kind: str
    size: int
    rate: float
    width: float = math.nan


# --- shares, exactly -------------------------------------------------------------------------------------------------


@cache
def outcomes(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return all numbers of pairs that got better and worse, and the logarithm of the ways to have them."""
    better, worse = np.meshgrid(np.arange(size + 1), np.arange(size + 1), indexing="ij")
    whole = better + worse <= size
    better, worse = better[whole], worse[whole]
    logs = np.array([math.lgamma(k + 1) for k in range(size + 1)])
    return better, worse, logs[size] - logs[better] - logs[worse] - logs[size - better - worse]


def likelihood(size: int, up: float, down: float) -> Floats:
    """Return the probability of each of the `outcomes`, where a pair gets better or worse with these shares."""
    better, worse, ways = outcomes(size)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [
            np.where(count == 0, 0.0, count * np.log(share))
            for count, share in ((better, up), (worse, down), (size - better - worse, max(0.0, 1 - up - down)))
        ]
    return np.exp(ways + sum(parts))


def shares_false(sizes: Sequence[int] = SIZES) -> Iterator[Cell]:
    """Give false positives of 0/1 measures; a share of the prompts changes by chance, as often in both directions."""
    for size in sizes:
        better, worse, _ = outcomes(size)
        rejected = mcnemar(better, worse) <= LEVEL
        for changing in (0.02, 0.1, 0.3, 0.5, 1.0):
            rate = float(likelihood(size, changing / 2, changing / 2)[rejected].sum())
            yield Cell(f"0/1, {changing:.0%} of the prompts change", size, rate)


def shares_coverage(sizes: Sequence[int] = SIZES) -> Iterator[Cell]:
    """Give coverages of 0/1 measures, from shares at 0 and 1 to the middle."""
    for size in sizes:
        better, worse, _ = outcomes(size)
        low, high = of_shares(better, worse, size, 1 - LEVEL)
        equal = mcnemar(better, worse) > LEVEL  # as `compare` shows it
        low, high = np.where(equal, np.minimum(low, 0), low), np.where(equal, np.maximum(high, 0), high)
        width = np.minimum(high, 1) - np.maximum(low, -1)
        for up, down in (
            (0.0, 0.0), (0.02, 0.0), (0.05, 0.05), (0.1, 0.0), (0.2, 0.0), (0.2, 0.2), (0.3, 0.1), (0.5, 0.0),
            (0.5, 0.5), (0.6, 0.1), (0.8, 0.0), (0.9, 0.0), (0.95, 0.0), (0.95, 0.05), (0.98, 0.0), (0.99, 0.0),
            (1.0, 0.0),
        ):  # fmt: skip
            chance, true = likelihood(size, up, down), up - down
            inside = (low <= true + 1e-12) & (true <= high + 1e-12)
            rate, mean = float(chance[inside].sum()), float((chance * width).sum())
            yield Cell(f"0/1, better {up:.0%}, worse {down:.0%}", size, rate, mean)


# --- numbers and clusters, simulated ---------------------------------------------------------------------------------

Random = np.random.Generator
Draw = Callable[[Random, tuple[int, ...]], Floats]


def _both(draw: Callable[[Floats], Floats], level: Floats) -> Floats:
    """Return the difference of two draws of the same prompts."""
    return np.asarray(draw(level) - draw(level), dtype=np.float64)


def _ceiling(random: Random, shape: tuple[int, ...]) -> Floats:
    hard = random.beta(4, 1, shape)

    def scores(level: Floats) -> Floats:
        noisy = np.clip(level + random.normal(0, 0.15, shape), 0, 1)
        return np.where(random.random(shape) < 0.4 * level, 1.0, noisy)

    return _both(scores, hard)


def _errors(random: Random, rate: Floats) -> Floats:
    return random.poisson(rate).astype(np.float64)


def _graded(random: Random, quality: Floats) -> Floats:
    return np.clip(np.round(3 + quality + random.normal(0, 0.7, quality.shape)), 1, 5)


NUMBERS: dict[str, tuple[Draw, float, float]] = {
    "normal": (lambda r, n: r.normal(0.3, 1, n), 0.3, 0.0),
    "heavy tails (t, 3 df)": (lambda r, n: 0.3 + r.standard_t(3, n), 0.3, 0.0),
    "skew 2 (exponential)": (lambda r, n: r.exponential(1, n), 1.0, 0.0),
    "skew 2.8 (gamma)": (lambda r, n: r.gamma(0.5, 1, n), 0.5, 0.0),
    "skew 3.3 (lognormal)": (lambda r, n: np.exp(r.normal(0, 0.75, n)), math.exp(0.28125), 0.0),
    "grades 1 to 10, whole": (lambda r, n: np.round(r.normal(0.4, 1.2, n)), 0.4, UNSEEN),
    "F1, spread": (lambda r, n: r.beta(0.5, 0.3, n) - r.beta(0.5, 0.5, n), 0.125, 1.0),
    "F1, nearly 1 after": (lambda r, n: r.beta(8, 0.3, n) - r.beta(0.5, 1.5, n), 8 / 8.3 - 0.25, 1.0),
    "F1, 70% tied": (lambda r, n: np.where(r.random(n) < 0.7, 0, r.beta(2, 1, n)), 0.2, 1.0),
    "F1, 90% tied": (lambda r, n: np.where(r.random(n) < 0.9, 0, r.beta(2, 1, n)), 1 / 15, 1.0),
    "F1, a ceiling before and after": (_ceiling, 0.0, 1.0),
    "errors, Poisson of a rate per prompt": (lambda r, n: _both(partial(_errors, r), r.gamma(0.7, 2, n)), 0.0, UNSEEN),
    "grades 1 to 5 of a noisy judge": (lambda r, n: _both(partial(_graded, r), r.normal(0, 1, n)), 0.0, UNSEEN),
    "wins of a judge, a third even": (lambda r, n: r.choice([-0.5, 0.0, 0.5], n), 0.0, 1.0),
}
"""By name: how differences are drawn, their mean, and the largest that is possible (0: no limit, UNSEEN: not known)."""
WEIGHTED: dict[str, tuple[Draw, float, float]] = {
    "loss by tokens, normal": (lambda r, n: r.normal(0.3, 1, n), 0.3, 0.0),
    "loss by tokens, skew 2": (lambda r, n: r.exponential(1, n), 1.0, 0.0),
}


def swapped(random: Random, sums: Floats) -> Floats:
    """Swap before and after of each unit at random."""
    return np.asarray(sums * random.choice([-1.0, 1.0], sums.shape), dtype=np.float64)


def units(random: Random, runs: int, size: int) -> Iterator[tuple[str, Floats, Floats, float, float]]:
    """Give (kind, sums, weights, the true mean, the largest difference) of each kind of numbers."""
    one = np.ones((runs, size))
    for name, (draw, mean, largest) in NUMBERS.items():
        yield name, draw(random, (runs, size)), one, mean, largest
    for name, (draw, mean, largest) in WEIGHTED.items():
        weights = np.exp(random.normal(3, 0.6, (runs, size)))
        yield name, weights * draw(random, (runs, size)), weights, mean, largest


def clusters(random: Random, runs: int, size: int) -> Iterator[tuple[str, Floats, Floats, float, float]]:
    """Give the same of clusters, whose prompts share a part of their effect."""
    for each, correlation in ((4, 0.2), (4, 0.8), (10, 0.5)):
        if size < 2 * each:
            continue
        count = size // each
        own = random.normal(0, math.sqrt(1 - correlation), (runs, count, each))
        common = random.normal(0, math.sqrt(correlation), (runs, count, 1))
        sums = (0.3 + own + common).sum(axis=2)
        yield f"clusters of {each}, correlation {correlation}", sums, np.full((runs, count), float(each)), 0.3, 0.0
    share = random.beta(1.2, 1.2, (runs, max(2, size // 4), 1))
    right = (random.random((runs, max(2, size // 4), 4)) < share).sum(axis=2).astype(float)
    yield "clusters of 4 with 0/1, base 0", right, np.full(right.shape, 4.0), 0.5, 1.0


def simulated(runs: int, sizes: Sequence[int] = SIZES, seed: int = 1) -> tuple[list[Cell], list[Cell]]:
    """Return false positives and coverages of numbers and clusters."""
    false, coverage = [], []
    for size in sizes:
        random = np.random.default_rng([seed, size])
        for kind, sums, weights, mean, largest in (*units(random, runs, size), *clusters(random, runs, size)):
            null = swapped(random, sums)
            values = sign_flip(null, resamples=FLIPS) if largest else flip_against_tail(null, weights, resamples=FLIPS)
            rate = float((values <= LEVEL).mean())
            false.append(Cell(kind, size, rate))
            low, high = of_means(sums, weights, 1 - LEVEL, largest)
            inside = float(((low <= mean) & (mean <= high)).mean())
            coverage.append(Cell(kind, size, inside, float(np.median(high - low))))
    return false, coverage


def several(runs: int, sizes: Sequence[int] = SIZES, seed: int = 2) -> Iterator[Cell]:
    """Give how often any of four secondary measures is called better or worse by Holm, without an effect."""
    for size in sizes:
        for correlation in (0.0, 0.7):
            random = np.random.default_rng([seed, size, round(10 * correlation)])
            common = random.normal(0, math.sqrt(correlation), (runs, 1, size))
            drawn = common + random.normal(0, math.sqrt(1 - correlation), (runs, 4, size))
            values = sign_flip(drawn, resamples=FLIPS)
            rate = float(np.mean([min(holm(list(row))) <= LEVEL for row in values]))
            yield Cell(f"four measures by Holm, correlation {correlation}", size, rate)


def told(sums: Floats, weights: Floats) -> NDArray[np.bool_]:
    """Whether the verdict calls a run better or worse, by its test and its interval."""
    low, high = of_means(sums, weights, 1 - LEVEL, 0.0)
    level = flip_against_tail(sums, weights, resamples=FLIPS) <= LEVEL
    return np.asarray(level & ((low > 0) | (high < 0)))


Unequal = Callable[[Random, tuple[int, ...]], tuple[Floats, Floats]]


def _by_tokens(spread: float, draw: Draw) -> Unequal:
    """Weight differences by numbers of tokens; of no spread all weigh the same."""

    def made(random: Random, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        weights = np.exp(random.normal(3.5, spread, shape)).round() + 1 if spread else np.ones(shape)
        return weights * draw(random, shape), weights

    return made


def _pareto(tail: float) -> Draw:
    return lambda r, n: r.pareto(tail, n) - 1 / (tail - 1)


SKEWED: dict[str, Unequal] = {
    "eval_loss, Pareto 2.5, tokens vary little": _by_tokens(0.6, _pareto(2.5)),
    "eval_loss, Pareto 2.5, tokens vary much": _by_tokens(1.2, _pareto(2.5)),
    "perplexity, Pareto 3": _by_tokens(0.5, _pareto(3)),
    "eval_loss, exponential": _by_tokens(0.6, lambda r, n: r.exponential(1, n) - 1),
    "numbers, exponential": _by_tokens(0, lambda r, n: r.exponential(1, n) - 1),
    "numbers, gamma .5": _by_tokens(0, lambda r, n: r.gamma(0.5, 1, n) - 0.5),
    "numbers, lognormal": _by_tokens(0, lambda r, n: np.exp(r.normal(0, 1, n)) - math.exp(0.5)),
}
"""By name: sums and weights of rows of which many get a little better and few much worse, by 0 in the mean."""
BEYOND: dict[str, Unequal] = {
    "eval_loss, Pareto 1.5, which has no variance": _by_tokens(0.6, _pareto(1.5)),
    "eval_loss, 5% rise by 1 nat": _by_tokens(0, lambda r, n: np.where(r.random(n) < 0.05, 1.0, -0.05 / 0.95)),
    "eval_loss, 2% rise by 2 nats": _by_tokens(0, lambda r, n: np.where(r.random(n) < 0.02, 2.0, -0.04 / 0.98)),
}
"""The same, of kinds that the claim leaves out."""


def skewed(runs: int, kinds: Mapping[str, Unequal], sizes: Sequence[int] = SIZES, seed: int = 3) -> Iterator[Cell]:
    """Give how often rows that are skewed, and change by 0 in the mean, are called better or worse."""
    for name, draw in kinds.items():
        for size in sizes:
            random = np.random.default_rng([seed, size])
            yield Cell(name, size, float(told(*draw(random, (runs, size))).mean()))


@dataclass(frozen=True)
class Counted:
    """A set of prompts: how many are independent, how many count, and how often no effect is called better or worse."""

    kind: str
    prompts: int
    independent: int
    counted: int
    told: tuple[float, ...]
    coverage: tuple[float, ...]


def wordings(runs: int, seed: int = 2) -> Iterator[Counted]:
    """Give how often prompts whose clusters follow from their wording are called better or worse, without an effect."""
    for name, kind in {**dependent(seed), **independent(seed)}.items():
        true = np.array(kind.clusters)
        _, found = np.unique(clusters_by_wording(kind.questions, kind.references), return_inverse=True)
        members = np.eye(found.max() + 1)[found]
        random = np.random.default_rng(seed)
        rates: list[float] = []
        coverage: list[float] = []
        for correlation in CORRELATIONS:
            common = random.normal(0, math.sqrt(correlation), (runs, true.max() + 1))[:, true]
            drawn = common + random.normal(0, math.sqrt(1 - correlation), common.shape)
            sums, weights = drawn @ members, np.broadcast_to(members.sum(axis=0), (runs, members.shape[1]))
            low, high = of_means(sums, weights, 1 - LEVEL, 0.0)
            rates.append(float(told(sums, weights).mean()))
            coverage.append(float(((low <= 0) & (high >= 0)).mean()))
        yield Counted(name, len(true), len(set(true.tolist())), len(set(found.tolist())), (*rates,), (*coverage,))


# --- gains that must not be denied -----------------------------------------------------------------------------------

GAINS: dict[str, tuple[float, float, float]] = {
    f"gain of .75 to .95, {share:.0%} fail ({low:+.2f} to {high:+.2f})": (share, low, high)
    for low, high in ((0.03, 0.15), (-0.25, 0.05))
    for share in (0.05, 0.1, 0.2, 0.3)
}
"""By name: the share of the prompts that fail, and the least and the largest difference of those."""


def gains(runs: int, sizes: Sequence[int] = SIZES, seed: int = 3) -> tuple[list[Cell], list[Cell]]:
    """Return how often a clear gain of an F1 is not called better, and how often its interval holds the true gain.

    Most prompts gain .75 to .95, some hardly any: with few of them, the skew is large.
    """
    denied, coverage = [], []
    for size in sizes:
        random = np.random.default_rng([seed, size])
        for kind, (share, low, high) in GAINS.items():
            fails = random.random((runs, size)) < share
            differences = np.where(
                fails, random.uniform(low, high, (runs, size)), random.uniform(0.75, 0.95, (runs, size))
            )
            found = [verdict_on(row) for row in differences]
            true = share * (low + high) / 2 + (1 - share) * 0.85
            bounds = [(-1.0 if one.low is None else one.low, 1.0 if one.high is None else one.high) for one in found]
            missed = np.mean([one.outcome is not Outcome.better for one in found])
            inside = np.mean([least <= true <= most for least, most in bounds])
            denied.append(Cell(kind, size, float(missed)))
            width = float(np.median([most - least for least, most in bounds]))
            coverage.append(Cell(kind, size, float(inside), width))
    return denied, coverage


CONSTANTS: dict[str, tuple[float, float, float]] = {
    "constant answer, right in 80%, base 0% for its form": (0.0, 0.8, 0.75),
    "constant answer, right in 80%, base 40%": (0.4, 0.8, 0.4),
    "constant answer, right in 50%, base 0%": (0.0, 0.5, 0.0),
}
"""By name: the share that the base answers right, the constant answer, and the base's content."""


def constants(runs: int, sizes: Sequence[int] = SIZES, seed: int = 4) -> Iterator[Cell]:
    """Give how often a model with one answer to everything is called better, if that is right for most prompts."""
    for size in sizes:
        random = np.random.default_rng([seed, size])
        for kind, (base, share, content) in CONSTANTS.items():
            called = 0
            for _ in range(runs):
                right = (random.random(size) < share).astype(float)
                drawn = random.random(size)
                before, said = ((drawn < part / share) * right for part in (base, content))
                constant = {"constant": "yes", "constant_items": right.tolist(), "answers": 1}
                found = verdict_on(right - before, before, content=said.tolist(), after=constant)
                called += found.outcome is Outcome.better
            yield Cell(kind, size, called / runs)


def verdict_on(
    differences: Floats,
    before: Floats | None = None,
    *,
    content: Sequence[float] = (),
    after: Mapping[str, Any] = EMPTY,
) -> Change:
    """Return what the verdict comes to for scores of answers."""
    first = np.zeros(len(differences)) if before is None else before
    sides = ((first, {"content": [*content]}), (first + differences, after))
    one, two = (
        Measure(float(items.mean()), items.tolist(), higher_is_better=True, kind=MeasureKind.content, **more)
        for items, more in sides
    )
    return compare(EvalResult({"x": one}), EvalResult({"x": two}), VerdictConfig(resamples=FLIPS))["x"]


# --- tables ----------------------------------------------------------------------------------------------------------


def table(cells: Sequence[Cell], *, widths: bool) -> Iterator[str]:
    """Write cells as a table of Markdown: a row for each kind, a column for each size."""
    yield table_head("", *SIZES)
    for kind in dict.fromkeys(cell.kind for cell in cells):
        known = {cell.size: cell for cell in cells if cell.kind == kind}
        shown = [
            "" if size not in known else f"{known[size].rate:.3f}" + (f" ({known[size].width:.2f})" if widths else "")
            for size in SIZES
        ]
        yield table_row(kind, *shown)


def summary(cells: Sequence[Cell], *, highest: bool) -> str:
    """Say what the mean and the worst cell are."""
    worst = (max if highest else min)(cells, key=lambda cell: cell.rate)
    mean = sum(cell.rate for cell in cells) / len(cells)
    return f"{len(cells)} cells, mean {mean:.3f}, worst {worst.rate:.3f} ({worst.kind}, {worst.size} prompts)"


def counted_table(rows: Sequence[Counted]) -> Iterator[str]:
    """Write as how many prompts each kind counts, and how often it is called better or worse without an effect."""
    correlations = (f"told, correlation {one}" for one in CORRELATIONS)
    yield table_head("", "independent", "counted", *correlations, "coverage")
    for kind in rows:
        rates = (f"{rate:.3f}" for rate in kind.told)
        yield table_row(kind.kind, kind.independent, kind.counted, *rates, f"{min(kind.coverage):.3f}")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    false, coverage = simulated(runs)
    false = [*shares_false(), *false, *several(runs)]
    missed, gained = gains(max(1, runs // 30))
    coverage = [*shares_coverage(), *coverage, *gained]
    same = list(constants(max(1, runs // 30)))
    unequal, beyond = list(skewed(runs, SKEWED)), list(skewed(runs, BEYOND))
    worded = list(wordings(runs))
    power = [table_row(size, f"{100 * (least_difference(size) or math.nan):.0f}") for size in SIZES]
    lines = [
        *(f"False positives: {summary(false, highest=True)}", "", *table(false, widths=False), ""),
        *(f"Coverage: {summary(coverage, highest=False)}", "", *table(coverage, widths=True), ""),
        *(f"Skewed, no change in the mean: {summary(unequal, highest=True)}", ""),
        *(*table([*unequal, *beyond], widths=False), ""),
        *("Clusters by wording", "", *counted_table(worded), ""),
        *(f"Clear gains not called better: {summary(missed, highest=True)}", "", *table(missed, widths=False), ""),
        *(
            f"One answer to everything, called better: {summary(same, highest=True)}",
            "",
            *table(same, widths=False),
            "",
        ),
        *("Least difference of shares that is found with 80% power, 5% of the prompts going the wrong way", "", *power),
    ]
    OUT.print("\n".join(lines))


if __name__ == "__main__":
    main()
