"""A plugin of pytest: of the tests that are selected, run one part.

    python -m pytest -p tests.support.parts --part=3/28 -m slow     the third of 28

What no run takes by default is run in turn: `.ci/run` takes one part a day.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

TOGETHER = 8
"""Tests of a file that stay in one part: they share what its fixtures make, and more would take too long for a day."""


class InFile(Protocol):
    """A test."""

    @property
    def path(self) -> Path:
        """The file that it is in."""


Test = TypeVar("Test", bound=InFile)


def part_of(tests: Sequence[Test], part: int, parts: int) -> list[Test]:
    """Return the tests of a part. How long each takes is not known, so each part has as many groups as the others."""
    in_files = itertools.groupby(sorted(tests, key=lambda test: test.path), key=lambda test: test.path)
    files = [[*of_file] for _, of_file in in_files]
    groups = [file[start : start + TOGETHER] for file in files for start in range(0, len(file), TOGETHER)]
    return [test for group in groups[part % parts :: parts] for test in group]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--part`."""
    parser.addoption("--part", default="1/1", metavar="K/N", help="run the K-th of N parts of the tests")


@pytest.hookimpl(trylast=True)  # after those that -m leaves out are gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the other parts out."""
    part, parts = map(int, config.getoption("--part").split("/"))
    own = part_of(items, part, parts)
    config.hook.pytest_deselected(items=[item for item in items if item not in own])
    items[:] = own


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a part without tests be no failure: there may be fewer groups than parts."""
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
