"""A plugin of pytest: of the tests that are selected, run the files of one part.

    python -m pytest -p tests.support.parts --part=3/28 -m slow     the third of 28

What no run takes by default is run in turn: `.ci/run` takes one part a day.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--part`."""
    parser.addoption("--part", default="1/1", metavar="K/N", help="run the K-th of N parts of the files")


@pytest.hookimpl(trylast=True)  # after those that -m leaves out are gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the other parts out."""
    part, parts = map(int, config.getoption("--part").split("/"))
    own = {*sorted({item.path for item in items})[part % parts :: parts]}
    config.hook.pytest_deselected(items=[item for item in items if item.path not in own])
    items[:] = [item for item in items if item.path in own]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a part without tests be no failure: there may be fewer files than parts."""
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
