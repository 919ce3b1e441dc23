"""How often `compare` is wrong about several systems: false differences, coverage, and what the correction costs.

    nice -n 19 python -m benchmarks.compare            prints the tables that docs/explanation/verdict.md sums up
    nice -n 19 python -m benchmarks.compare --runs 200 fewer simulations

Each simulation has one reference and several other systems, each with several measures, and asks `compare_systems`, the
function of the command. In the nulls no system differs from the reference on average; in half of them the differences
cannot be swapped, so that the test could fail: many items a little better and few much worse, or whole clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.api.records import Measure, MeasureKind, Outcome
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare_systems

Floats = NDArray[np.float64]
Random = np.random.Generator
CONFIG = VerdictConfig(resamples=999)
SIZES = (20, 60, 200)
FAMILIES = ((1, 1), (3, 2), (19, 1))
"""Systems beside the reference, and measures of each."""
SHARED = 0.5
"""Part of the variance of a difference that all systems share: they are compared with one reference."""
DIFFERENT = {Outcome.better, Outcome.worse}


@dataclass(frozen=True)
class Kind:
    """How items differ: a draw of differences with the mean 0, and what a measure makes of them.

    `draw` gives the reference and the other systems, of shape (systems, items).
    """

    draw: Callable[[Random, int, int], Floats]
    kind: MeasureKind = MeasureKind.content
    cluster: int = 0


@dataclass(frozen=True)
class Cell:
    """A cell: how often any comparison was called better or worse, and how often all intervals held the truth."""

    kind: str
    items: int
    systems: int
    measures: int
    told: float
    covered: float
    width: float


def shares(random: Random, systems: int, items: int) -> Floats:
    """Draw 0 and 1 with one chance for each item, which all systems have."""
    chance = random.beta(1, 1, items)
    return (random.random((systems, items)) < chance).astype(np.float64)


def clustered(random: Random, systems: int, items: int) -> Floats:
    """Draw 0 and 1 so that each system does well or badly in a whole cluster of ten items."""
    groups = -(-items // 10)
    chance = np.repeat(random.beta(0.5, 0.5, (systems, groups)), 10, axis=1)[:, :items]
    return (random.random((systems, items)) < chance).astype(np.float64)


def _with_reference(random: Random, differences: Floats) -> Floats:
    """Return a reference that all differences share, and the systems that differ from it by them."""
    reference = random.normal(2, 1, differences.shape[1])
    return np.vstack([reference, reference + differences[1:]])


def skewed(random: Random, systems: int, items: int) -> Floats:
    """Draw losses: many items get a little better, few much worse, and the mean does not change."""
    return _with_reference(random, random.pareto(2.5, (systems, items)) - 1 / 1.5)


def exponential(random: Random, systems: int, items: int) -> Floats:
    """Draw the same with less skew."""
    return _with_reference(random, random.exponential(1.0, (systems, items)) - 1.0)


def graded(random: Random, systems: int, items: int) -> Floats:
    """Draw grades from 0 to 1: most systems gain .05 on nine items of ten, and lose .45 on the tenth."""
    reference = np.full(items, 0.5)
    lost = random.random((systems, items)) < 0.1
    values = reference + np.where(lost, -0.45, 0.05)
    values[0] = reference
    return values


KINDS = {
    "0/1": Kind(shares),
    "0/1, clusters of 10": Kind(clustered, cluster=10),
    "grades, nine gains of .05 to one loss of .45": Kind(graded),
    "losses, exponential": Kind(exponential, MeasureKind.loss),
    "losses, Pareto 2.5": Kind(skewed, MeasureKind.loss),
}


def cell(name: str, items: int, systems: int, measures: int, runs: int) -> Cell:
    """Simulate one null."""
    kind = KINDS[name]
    random = np.random.default_rng([items, systems, measures, [*KINDS].index(name)])
    told = covered = 0
    widths = []
    for _ in range(runs):
        found = compare_systems(_systems(random, kind, items, systems, measures), CONFIG, against="0")
        told += any(one.change.outcome in DIFFERENT for one in found)
        covered += all(
            one.change.low is None or one.change.high is None or one.change.low <= 0 <= one.change.high for one in found
        )
        widths += [(one.change.high or 0.0) - (one.change.low or 0.0) for one in found]
    return Cell(name, items, systems, measures, told / runs, covered / runs, float(np.median(widths)))


def _systems(random: Random, kind: Kind, items: int, systems: int, measures: int) -> dict[str, dict[str, Measure]]:
    drawn = [kind.draw(random, systems + 1, items) for _ in range(measures)]
    clusters = [place // kind.cluster for place in range(items)] if kind.cluster else []
    plain = Measure(0.0, higher_is_better=kind.kind is MeasureKind.content, kind=kind.kind, clusters=clusters)
    return {
        f"{system}": {
            f"{number}": replace(plain, value=float(values[system].mean()), items=values[system].tolist())
            for number, values in enumerate(drawn)
        }
        for system in range(systems + 1)
    }


def nulls(runs: int, sizes: Sequence[int] = SIZES) -> Iterator[Cell]:
    """Give the cells of systems that do not differ."""
    for name in KINDS:
        for systems, measures in FAMILIES:
            for items in sizes:
                yield cell(name, items, systems, measures, runs)


def power(items: int, systems: int, runs: int) -> tuple[float, float]:
    """Return how often a system that is 15 points better is found among others, and how often by an unpaired test.

    It gains 20 points and loses 5, each on items of its own.
    """
    random = np.random.default_rng([items, systems])
    found = unpaired = 0
    for _ in range(runs):
        drawn = _systems(random, KINDS["0/1"], items, systems, 1)
        before = np.array(drawn["0"]["0"].items, dtype=np.float64)
        change = random.random(items) < np.where(before > 0, 0.1, 0.4)
        after = np.where(change, 1 - before, before)
        drawn["1"] = {"0": replace(drawn["0"]["0"], value=float(after.mean()), items=after.tolist())}
        first = next(one for one in compare_systems(drawn, CONFIG, against="0") if one.other == "1")
        found += first.change.outcome is Outcome.better
        spread = np.hypot(*(np.std(values, ddof=1) / np.sqrt(items) for values in (before, after)))
        unpaired += abs(after.mean() - before.mean()) > NormalDist().inv_cdf(0.975) * spread
    return found / runs, unpaired / runs


def main() -> None:
    """Print the tables."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    lines = [table_head("no difference", "systems, measures", *SIZES)]
    cells = list(nulls(runs))
    for name in KINDS:
        for systems, measures in FAMILIES:
            line = [one for one in cells if (one.kind, one.systems, one.measures) == (name, systems, measures)]
            values = (f"{one.told:.3f}, {one.covered:.3f} ({one.width:.2f})" for one in line)
            lines.append(table_row(name, f"{systems}, {measures}", *values))
    told, covered = max(one.told for one in cells), min(one.covered for one in cells)
    lines += ["", f"{len(cells)} cells: at most {told:.3f} called different, at least {covered:.3f} covered"]
    others = [systems for systems, measures in FAMILIES if measures == 1 or systems > 1]
    found = {(systems, items): power(items, systems, runs) for systems in others for items in SIZES}
    lines += ["", table_head("15 points better", *SIZES)]
    lines += [table_row("unpaired test of one system", *(f"{found[1, items][1]:.2f}" for items in SIZES))]
    for systems in others:
        rates = (f"{found[systems, items][0]:.2f}" for items in SIZES)
        lines.append(table_row(f"`compare`, systems beside the reference: {systems}", *rates))
    OUT.print("\n".join(lines))


if __name__ == "__main__":
    main()
