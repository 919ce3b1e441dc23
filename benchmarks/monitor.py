"""How often the rules of `health` report an ordinary training, and how soon they report one that goes wrong.

    nice -n 19 python -m benchmarks.monitor
    nice -n 19 python -m benchmarks.monitor --held-out
    nice -n 19 python -m benchmarks.monitor --ordinary --seed 11      the false alarms alone, with other noise

`monitor_kinds.py` makes up the trainings. A delay is counted in log entries from where the training goes wrong; the
95% column is the delay that 95 of 100 reported trainings do not exceed. It takes some minutes on one core.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from benchmarks import monitor_kinds as kinds
from benchmarks.common import OUT, command_line, table_head, table_row
from benchmarks.monitor_kinds import Make, Sick, Training
from framework.api.records import TrainingIssue
from tests.support.curves import entries, seen

RUNS, SEED = 400, 3


def issues(training: Training) -> list[TrainingIssue]:
    """Return what a run reports of a training, all of which only warn."""
    losses, norms, evals = training
    return seen(entries(losses.tolist(), norms.tolist(), evals), "health.nan=warn")


def reported(training: Training) -> dict[str, int]:
    """Return which rules speak, each with its first step."""
    found: dict[str, int] = {}
    for issue in issues(training):
        found.setdefault(issue.kind, issue.step)
    return found


def share(make: Make, runs: int, seed: int = SEED) -> tuple[float, list[int], Counter[str]]:
    """Return the share of trainings of which something is reported, the first steps of those, and by what."""
    random = np.random.default_rng(seed)
    found = [reported(make(random)) for _ in range(runs)]
    firsts = sorted(min(each.values()) for each in found if each)
    return len(firsts) / runs, firsts, Counter(name for each in found for name in each)


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in counts.most_common())


def _ordinary(title: str, trainings: Mapping[str, Make], runs: int, seed: int = SEED) -> None:
    OUT.print(f"\n{table_head(title, 'reported', 'by')}")
    for name, make in trainings.items():
        rate, _, counts = share(make, runs, seed)
        OUT.print(table_row(name, f"{rate:.1%}", _words(counts)))


def _sick(title: str, trainings: Mapping[str, Sick], runs: int) -> None:
    OUT.print(f"\n{table_head(title, 'reported', 'delay', '95%', 'by')}")
    for name, sick in trainings.items():
        rate, firsts, counts = share(sick.make, runs)
        delays: list[float] = [first - sick.starts for first in firsts] or [math.nan]
        middle, late = np.quantile(delays, [0.5, 0.95])
        OUT.print(table_row(name, f"{rate:.0%}", f"{middle:.0f}", f"{late:.0f}", _words(counts)))


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--held-out", action="store_true", help="the kinds that the rules were not made with")
    parser.add_argument("--ordinary", action="store_true", help="ordinary trainings only, of all kinds")
    parser.add_argument("--seed", type=int, default=SEED, help="of the noise, with --ordinary")
    arguments = parser.parse_args()
    if arguments.ordinary:
        for title, trainings in (
            ("known to the rules", kinds.ORDINARY),
            ("not known to them", {**kinds.HELD_OUT_ORDINARY, **kinds.LATER_ORDINARY}),
        ):
            _ordinary(title, trainings, arguments.runs, arguments.seed)
        return
    if arguments.held_out:
        for ordinary, sick in (
            (kinds.HELD_OUT_ORDINARY, kinds.HELD_OUT_SICK),
            (kinds.LATER_ORDINARY, kinds.LATER_SICK),
        ):
            _ordinary("ordinary", ordinary, arguments.runs)
            _sick("goes wrong", sick, arguments.runs)
        OUT.print(f"\n{table_head('real training', 'reported')}")
        for name, training in kinds.real().items():
            found = ", ".join(f"{kind} at step {step}" for kind, step in reported(training).items())
            OUT.print(table_row(name, found or "nothing"))
        return
    _ordinary("ordinary", kinds.ORDINARY, arguments.runs)
    _ordinary("ambiguous", kinds.AMBIGUOUS, arguments.runs)
    _sick("goes wrong", kinds.SICK, arguments.runs)


if __name__ == "__main__":
    main()
