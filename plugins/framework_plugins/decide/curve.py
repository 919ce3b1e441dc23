"""`learning-curve RUN_DIR RUN_DIR RUN_DIR`: what more rows would bring, by runs with different numbers of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from framework import FrameworkError
from framework.api import DataResult, EvalResult, count
from framework.api.program import CommandParser, read_run
from framework_plugins.decide.calibration import Array
from framework_plugins.decide.config import PREFIX, LearningCurveConfig
from framework_plugins.decide.decider import MEASURED

LEAST_SIZES = 3
"""Different numbers of rows that a curve needs."""
DRAWS = 2000
ENDS = 2.5, 97.5


class LearningCurve:
    """Fits a curve to the decisions of several runs."""

    def __init__(self, config: LearningCurveConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print the runs, and the gain of more rows or why the runs do not show it."""
        parser = CommandParser("learning-curve", LearningCurveConfig.__doc__)
        parser.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", help="folders of runs that differ in their rows")
        parser.add_argument("--more", type=int, default=500, metavar="ROWS", help="how many more; default: 500")
        given = parser.read(arguments)
        if given.more < 1:
            parser.error(f"--more={given.more}: give 1 row or more")
        sizes, wrong = wrong_items(given.run_dirs)
        for size, items in zip(sizes, wrong, strict=True):
            print(f"{count(size, 'row')}: {1 - items.mean():.1%} right of {count(len(items), 'held-out row')}")  # noqa: T201
        low, gain, high = expected_gain(sizes, wrong, given.more)
        told = f"{100 * low:+.1f} to {100 * high:+.1f} points (95%, over held-out rows)"
        shown = f"about {100 * gain:+.1f} points, {told}" if low > 0 else f"no gain is shown: {told}"
        print(f"{given.more:,} more rows: {shown}")  # noqa: T201
        return 0


def wrong_items(folders: Sequence[str]) -> tuple[list[int], list[Array]]:
    """Return the training rows of each run, and which of the same held-out rows it decides wrongly, (rows,).

    Raises:
        FrameworkError: a run has no decisions, or they are of other rows.
    """
    sizes, items, places = list[int](), list[Mapping[str, float]](), list[str]()
    for folder in folders:
        run = read_run(folder)
        measured, data = run.record(EvalResult, MEASURED), run.record(DataResult, "data.json")
        accuracy = measured.measures.get(f"{PREFIX}accuracy") if measured else None
        if accuracy is None or data is None:
            raise FrameworkError(f"{folder} has no {PREFIX}accuracy: run it with evaluator=[decide]")
        sizes.append(data.train_rows)
        items.append(
            {place: item for place, item in zip(accuracy.where, accuracy.items, strict=True) if item is not None}
        )
        places = places or list(items[0])
        if items[-1].keys() != items[0].keys():
            raise FrameworkError(
                f"{folder} was measured on other held-out rows than {folders[0]}: set data.prompts_path"
            )
    return sizes, [1 - np.array([of_run[place] for place in places]) for of_run in items]


def expected_gain(sizes: Sequence[int], wrong: Sequence[Array], more: int) -> tuple[float, float, float]:
    """Return by how much the accuracy rises with more rows than the largest run has: least, expected, most.

    The error falls as a power of the rows (Hestness et al. 2017, arXiv 1712.00409), fitted to the logarithms. The
    interval is over draws of the held-out rows, the same ones for all runs; it says nothing of other seeds.

    Raises:
        FrameworkError: too few sizes, or more rows than the runs show.
    """
    if len({*sizes}) < LEAST_SIZES:
        raise FrameworkError(
            f"a curve takes runs with {LEAST_SIZES} different numbers of training rows, and these have "
            f"{', '.join(map(str, sorted({*sizes})))}: -m data.max_rows=160,320,640 makes three"
        )
    largest = max(sizes)
    if more > largest:
        raise FrameworkError(
            f"--more={more}: {largest} rows tell nothing of more than twice as many: give {largest} or less"
        )
    table = np.stack(wrong)
    rows = table.shape[1]
    drawn = np.random.default_rng(0).multinomial(rows, [1 / rows] * rows, DRAWS)
    errors = np.concatenate([[table.mean(1)], drawn @ table.T / rows])  # of the rows themselves first
    logs, costs = np.log(np.array(sizes)), np.log(np.maximum(errors, 0.5 / rows))  # no error at all is half a row's
    slopes = (costs - costs.mean(1, keepdims=True)) @ (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    now = costs.mean(1) + slopes * (np.log(largest) - logs.mean())
    gains = np.exp(now) * (1 - (1 + more / largest) ** slopes)
    low, high = np.percentile(gains[1:], ENDS)
    return float(low), float(gains[0]), float(high)
