"""Draws cases with Hypothesis, and makes those with a fault small."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisWarning
from hypothesis.strategies import SearchStrategy

from benchmarks.fuzz.case import Case

DRAWN = 4
"""Draws for each case: some come twice."""
TRIES = 12
"""Cases that are run to make one small."""


def draw(strategy: SearchStrategy[Case], number: int, count: int) -> list[Case]:
    """Return that many cases, all different; fewer if there are no more."""
    found: dict[str, Case] = {}

    def collect(case: Case) -> None:
        found.setdefault(repr(case), case)
        if len(found) > count:
            _fail("there are enough")

    with suppress(AssertionError):
        _search(strategy, number, count, collect, [Phase.generate])
    return list(found.values())[:count]


def shrink(
    strategy: SearchStrategy[Case],
    number: int,
    count: int,
    known: dict[str, str],
    what: str,
    run: Callable[[Case], str],
) -> Case | None:
    """Return the smallest case that was found with a fault.

    Args:
        strategy: that of `draw`, as are the next two.
        number: the seed.
        count: the cases.
        known: the faults of cases that were run, by their `repr`.
        what: the fault.
        run: runs a case, and returns its fault.
    """
    smallest: list[Case] = []
    left = TRIES

    def attempt(case: Case) -> None:
        nonlocal left
        key = repr(case)
        if key not in known:
            known[key] = run(case) if left and smallest else ""
            left -= bool(smallest)
        if known[key] == what:
            smallest[:] = [case]
            _fail(what)

    with suppress(AssertionError):
        _search(strategy, number, count, attempt, [Phase.generate, Phase.shrink])
    return smallest[0] if smallest else None


def _fail(what: str) -> NoReturn:
    raise AssertionError(what)


def _search(
    strategy: SearchStrategy[Case], number: int, count: int, test: Callable[[Case], None], phases: list[Phase]
) -> None:
    chosen = settings(
        max_examples=DRAWN * count, deadline=None, database=None, phases=phases, print_blob=False,
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # that a case is long
        seed(number)(chosen(given(strategy)(test)))()
