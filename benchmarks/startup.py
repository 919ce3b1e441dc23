"""How long the program takes before it does anything, beside a bare Hydra app and other tools.

    OMP_NUM_THREADS=1 python -m benchmarks.startup [--runs N] [--llamafactory COMMAND]

Each command runs N times, all in turn, in an empty folder; the shortest wall time counts. Exit code 1 where one of ours
takes longer than `BUDGET` times the bare app.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import OUT, command_line, table_head, table_row

BARE = '''
"""The smallest Hydra app with a structured config."""
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore


@dataclass
class Config:
    learning_rate: float = 1.0


ConfigStore.instance().store(name="config", node=Config)


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config):
    pass


main()
'''
BUDGET = 3.0
"""Our own commands are to take no longer than this many times the bare app."""


@dataclass(frozen=True)
class Case:
    """A command to measure, the exit code that it has to give, and the case that it is compared with."""

    name: str
    command: tuple[str, ...]
    code: int = 0
    beside: str = ""


def cases(folder: Path, llamafactory: str) -> tuple[list[Case], list[str]]:
    """Return what is measured, and a line for each tool that is not here."""
    bare = folder / "bare.py"
    bare.write_text(BARE, encoding="utf-8")
    app, ours = (sys.executable, str(bare)), (sys.executable, "-m", "framework")
    found = [
        Case("bare Hydra app --help", (*app, "--help")),
        Case("bare Hydra app, a run", app),
        Case("bare Hydra app, a typo", (*app, "lerning_rate=1"), code=1),
        Case("framework --help", (*ours, "--help"), beside="bare Hydra app --help"),
        Case("framework stages=[plan]", (*ours, "stages=[plan]"), beside="bare Hydra app, a run"),
        Case("framework trainer.lerning_rate=1", (*ours, "trainer.lerning_rate=1"), 2, "bare Hydra app, a typo"),
        Case("framework adapter=loro", (*ours, "adapter=loro"), 2, "bare Hydra app, a typo"),
        Case("framework plugins", (*ours, "plugins"), beside="bare Hydra app --help"),
        Case("framework chat --help", (*ours, "chat", "--help"), beside="bare Hydra app --help"),
        Case("framework chat nowhere", (*ours, "chat", "nowhere"), 2, "bare Hydra app, a typo"),
    ]
    absent = []
    beside_python = Path(sys.executable).with_name("trl")
    for name, words in {
        "trl --help": [str(beside_python), "--help"],
        "llamafactory-cli version": [*shlex.split(llamafactory), "version"],
    }.items():
        if shutil.which(words[0]):
            found.append(Case(name, tuple(words), beside="bare Hydra app --help"))
        else:
            absent.append(f"{name}: skipped, there is no {words[0]}")
    return found, absent


def measure(measured: Sequence[Case], runs: int, folder: Path) -> dict[str, float]:
    """Return the shortest time of each case in seconds; once around before it counts fills the caches."""
    best: dict[str, float] = {}
    work = folder / "work"
    work.mkdir()
    # Some machines switch byte code off, and our modules would be compiled at each start, those of the bare app not.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(runs + 1):
        for case in measured:
            start = time.perf_counter()
            done = subprocess.run(case.command, cwd=work, env=env, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            if done.returncode != case.code:
                sys.exit(f"{shlex.join(case.command)} gave exit code {done.returncode}:\n{done.stderr}")
            if number:
                best[case.name] = min(seconds, best.get(case.name, seconds))
    return best


def main() -> int:
    """Measure and print the table; return 1 where a command of ours is over the budget."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how often each command runs (default: 10)")
    parser.add_argument(
        "--llamafactory", default="llamafactory-cli", metavar="COMMAND", help="its program, where it is not on the path"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measured, absent = cases(Path(name), asked.llamafactory)
        best = measure(measured, asked.runs, Path(name))
    OUT.print(table_head("command", "best of all, ms", "times the bare app"))
    over = []
    for case in measured:
        ratio = best[case.name] / best[case.beside] if case.beside else 1.0
        is_late = case.name.startswith("framework") and ratio > BUDGET
        over += [case.name] if is_late else []
        mark = " over the budget" if is_late else ""
        times = f"{ratio:.2f}{mark}" if case.beside else ""
        OUT.print(table_row(f"`{case.name}`", f"{best[case.name] * 1000:.0f}", times))
    for line in absent:
        OUT.print(line)
    OUT.print(f"{asked.runs} runs each; Python {platform.python_version()}, {os.cpu_count()} cores")
    if over:
        OUT.print(f"over the budget of {BUDGET:g} times a bare Hydra app: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
