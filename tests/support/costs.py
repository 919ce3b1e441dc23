"""A plugin of pytest: the CPU seconds of the tests by folder, beside the budget in `tests/README.md`.

    python -m pytest -p tests.support.costs -m "…"      without -n: each worker imports torch for itself

They are seconds of the CPU, not of the clock: what else the machine does adds some percent, not a multiple. Each
process that a test begins counts. A folder that takes a fifth more than its budget fails the run. `make test` does not
check it: another CPU takes other times.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[1] / "README.md"
ROW = re.compile(r"^\| `([\w/]+)` \| (\d+) \|$", re.MULTILINE)
SLACK = 1.2
KEY = "cpu_seconds"
LONGEST = 40


def read(path: str) -> str:
    """Return what is in a file of Linux; nothing if its process has just ended."""
    # Neither `Path` nor `os.scandir`: a test that is just over may have put something else in their place.
    with suppress(OSError), open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()
    return ""


def processes(process: int) -> Iterator[int]:
    """Yield a process and all that it began, as far as they live."""
    yield process
    tasks = list[str]()
    with suppress(OSError):  # it has just ended
        tasks = os.listdir(f"/proc/{process}/task")  # noqa: PTH208 - as above
    for task in tasks:
        for child in read(f"/proc/{process}/task/{task}/children").split():
            yield from processes(int(child))


def seconds() -> float:
    """Return what this process has used, with all that it began: what lives, and what has ended."""
    stats = (read(f"/proc/{process}/stat").rpartition(")")[2].split() for process in processes(os.getpid()))
    ticks = sum(int(field) for fields in stats for field in fields[11:15])  # utime, stime, and those of its children
    return ticks / os.sysconf("SC_CLK_TCK")


def folder_of(name: str) -> str:
    """Return the folder to which a test counts: `tests/docs`, `tests/plugins/hf`, `tests` for the files at the top."""
    parts = Path(name.partition("::")[0]).parent.parts
    return "/".join(parts[: 3 if parts[1:2] == ("plugins",) else 2])


class Costs:
    """Measures each phase of each test, and adds up."""

    def __init__(self) -> None:
        self.last = 0.0
        self.spent: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Begin."""
        self.last = self.last or seconds()  # what is between two tests counts to the second

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the seconds of a phase to its report, which a worker sends to the process that adds up."""
        report = yield
        now = seconds()
        report.user_properties = [(KEY, now - self.last)]
        self.last = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add them."""
        spent = dict(report.user_properties)[KEY]
        assert isinstance(spent, float)
        self.spent[report.nodeid] = self.spent.get(report.nodeid, 0) + spent

    def by(self, place: Callable[[str], str]) -> list[tuple[float, str]]:
        """Return the sums by what a test counts to, the largest first."""
        total: dict[str, float] = {}
        for name, spent in self.spent.items():
            total[place(name)] = total.get(place(name), 0) + spent
        return sorted(((spent, name) for name, spent in total.items()), reverse=True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print them beside the budget, and the files that took longest."""
        terminalreporter.section("CPU seconds")
        for spent, folder in self.by(folder_of):
            terminalreporter.write_line(f"{spent:7.0f} of {budget().get(folder, 0):4.0f}  {folder}")
        terminalreporter.write_line(f"{sum(self.spent.values()):7.0f} in all")
        for spent, file in self.by(lambda name: name.partition("::")[0])[:LONGEST]:
            terminalreporter.write_line(f"{spent:7.1f}  {file}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail if a folder took a fifth more."""
        over = [folder for spent, folder in self.by(folder_of) if spent > SLACK * budget().get(folder, 0)]
        if over and not hasattr(session.config, "workerinput"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def budget() -> dict[str, int]:
    """Return the seconds of the table, by folder."""
    return {folder: int(spent) for folder, spent in ROW.findall(TABLE.read_text(encoding="utf-8"))}


def pytest_configure(config: pytest.Config) -> None:
    """Measure from here on."""
    config.pluginmanager.register(Costs())
