"""How often `evaluator=replace_api` names a model rightly, and how often the promise of its router holds.

    python -m benchmarks.replace_api            50 resamplings of each case, five minutes

Three models, as good as the API, 3 points worse and 15 points worse, and one that is worse by the margin exactly, which
must not be called not worse. The API gives one answer to a request always, or agrees with itself in 92% of them. Each
resampling draws the scores of held-out requests from a pool with these shares and asks the code of the verdict.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import OUT, command_line, table_head, table_row
from framework_plugins.replace_api.verdict import Compared, Name, Terms, judge, route

SEED, POOL = 67, 20_000
RESAMPLINGS, LEAST_RIGHT = 50, 0.9
AT_MARGIN, MOST_FALSE = 200, 0.05
"""Resamplings of a model that is worse by the margin; the exact rate is 2.2% with 1,500 requests."""
FALLS = (0.0, 0.03, 0.15)
CASES = ((1.0, 1500, 0.05), (0.92, 6000, 0.05), (1.0, 5000, 0.02))
"""How often the API agrees with itself, held-out requests, and the margin."""
PROMISE = Terms(max_error=0.05)
ROUTED, DRAWS = 1000, 200


def requests(logged: NDArray[np.float64], model: NDArray[np.float64], sure: NDArray[np.float64]) -> list[Compared]:
    """Return requests with these scores and probabilities, all of them independent."""
    return [
        Compared(str(number), "", "", "", float(model[number]), float(logged[number]), float(sure[number]), number)
        for number in range(len(logged))
    ]


def named(
    agreement: float, fall: float, count: int, margin: float, draw: np.random.Generator, times: int = RESAMPLINGS
) -> list[Name]:
    """Return what the verdict says in each resampling of a pool."""
    logged = (np.arange(POOL) < agreement * POOL).astype(float)
    model = (draw.permutation(POOL) < (agreement - fall) * POOL).astype(float)
    names = []
    for _ in range(times):
        rows = draw.integers(0, POOL, count)
        names.append(judge(requests(logged[rows], model[rows], np.full(count, 0.5)), Terms(margin=margin)).name)
    return names


def broken_promises(draw: np.random.Generator) -> tuple[int, float]:
    """Return in how many draws the router leaves more than it promised to the model, and the share that it leaves."""
    sure = draw.beta(5, 1, POOL)
    right = (draw.random(POOL) < sure).astype(float)
    broken, shares = 0, []
    for _ in range(DRAWS):
        rows = draw.integers(0, POOL, ROUTED)
        router = route(requests(np.ones(ROUTED), right[rows], sure[rows]), PROMISE)
        left = sure >= (np.inf if router.threshold is None else router.threshold)
        broken += bool(left.any()) and 1 - right[left].mean() > PROMISE.max_error
        shares.append(left.mean())
    return broken, float(np.mean(shares))


def main() -> None:
    """Print a table, and whether the limits hold."""
    command_line(__doc__).parse_args()
    draw = np.random.default_rng(SEED)
    OUT.print(table_head("API agrees", "requests", "margin", "truly worse by", *(name.value for name in Name)))
    missed = list[str]()
    for agreement, count, margin in CASES:
        for fall in (*FALLS, margin):
            times = AT_MARGIN if fall == margin else RESAMPLINGS
            names = named(agreement, fall, count, margin, draw, times)
            shares = {name: names.count(name) / len(names) for name in Name}
            expected = Name.worse if fall > margin else Name.not_worse
            wrong = shares[Name.not_worse] > MOST_FALSE if fall >= margin else False
            if wrong or (fall != margin and shares[expected] < LEAST_RIGHT):
                missed.append(f"{fall} of {margin}, {agreement}")
            cells = (f"{shares[name]:.0%}" for name in Name)
            OUT.print(
                table_row(f"{agreement:.0%}", count, f"{100 * margin:g} points", f"{100 * fall:g} points", *cells)
            )
    broken, share = broken_promises(draw)
    kept = f"{share:.0%} of the requests stay with the model"
    OUT.print(f"router: the promise of {PROMISE.max_error:.0%} is broken in {broken} of {DRAWS} draws; {kept}")
    if broken > (1 - PROMISE.confidence) * DRAWS:
        missed.append("router")
    OUT.print(f"limits missed: {'; '.join(missed)}" if missed else "all limits are kept")


if __name__ == "__main__":
    main()
