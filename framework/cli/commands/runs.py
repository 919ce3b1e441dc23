"""`python -m framework runs [FOLDER] [--json]`: the runs and sweeps of a folder with their verdicts, newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from rich.console import Console
from rich.padding import Padding
from rich.text import Text
from yaml import YAMLError

from framework.api.run_folder import REPORT, STATUS, read_plain
from framework.api.text import count, number, visible
from framework.cli.commands import RunsCommandConfig
from framework.cli.commands.resume import OUTPUTS
from framework.sweep.folder import SWEEP, folders, planned_trials, state_of
from framework.util.command import CommandParser, this_program
from framework.util.errors import FrameworkError, display_path

LONGEST = 200
"""Characters of a verdict in the list."""


@dataclass(frozen=True)
class Row:
    """A run, or a sweep as a whole.

    Attributes:
        folder: as it is typed here.
        started: when it started, in ISO 8601 with the zone; for a sweep, when its first trial did.
        state: for a run the state in its `status.json`, or `killed`; for a sweep how many trials began, by their
            states.
        score: of the verdict, from 0 to 1; None if there is none.
        verdict: its first line, or why the run failed; for a sweep, its best trial.
    """

    folder: str
    started: str
    state: str
    score: float | None
    verdict: str


class RunsCommand:
    """Lists runs."""

    def __init__(self, config: RunsCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print a row for each run and each sweep, or with `--json` a list of them."""
        parser = CommandParser("runs", RunsCommandConfig.__doc__)
        parser.add_argument(
            "folder", nargs="?", type=Path, default=Path(OUTPUTS), metavar="FOLDER", help=f"default: {OUTPUTS}"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsed = parser.read(arguments)
        place: Path = parsed.folder
        if not place.is_dir() and place != Path(OUTPUTS):
            raise FrameworkError(f"{place}: there is no such folder")
        rows = [_row(home, runs) for home, runs in folders(place.absolute()).items()]
        rows.sort(key=lambda row: row.started, reverse=True)
        if parsed.json:
            print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
        elif not rows:
            print(f"no runs below {place}: `{this_program()}` starts the quickstart")
        else:
            _show(rows)
        return 0


def _row(home: Path, runs: Sequence[Path]) -> Row:
    started = min((str(plain(run / STATUS).get("started", "")) for run in runs), default="")
    if runs == [home]:
        verdict = plain(home / REPORT).get("verdict") or {}
        line = next(iter(verdict.get("lines") or []), "") or str(plain(home / STATUS).get("error") or "")
        return Row(display_path(home), started, state(home, home), verdict.get("score"), visible(line, " "))
    states = [state(run, home) for run in runs]
    tally = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    sweep = plain(home / SWEEP)
    best = next((trial for trial in sweep.get("trials", []) if trial["number"] == sweep.get("best")), None)
    words, score = "", None
    if best:
        name, score = sweep["objective"], best["score"]
        words = f"best: trial {best['number']}, {name} {number(best['value'], name)}"
    return Row(display_path(home), started, f"{_begun(len(runs), home)}: {tally}", score, visible(words, " "))


def _begun(trials: int, home: Path) -> str:
    try:
        total = planned_trials(home)
    except (OSError, ValueError, HydraException, YAMLError):  # damaged
        total = None
    return count(trials, "trial") if total in {None, trials} else f"{trials} of {count(total or 0, 'trial')}"


def state(run: Path, home: Path) -> str:
    """Return the state of a run, `unreadable` if its file is damaged."""
    try:
        return state_of(run, home)
    except (OSError, ValueError):
        return "unreadable"


def plain(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file of a run; empty if it is damaged: other runs are still listed."""
    try:
        value = read_plain(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _show(rows: Sequence[Row]) -> None:
    """Print two lines for each: where, when and how it ended, and below that the verdict."""
    console = Console(markup=False, emoji=False, highlight=False)
    widths = [max(len(row.folder) for row in rows), max(len(row.state) for row in rows)]
    for row in rows:
        began = f"{datetime.fromisoformat(row.started).astimezone():%Y-%m-%d %H:%M}" if row.started else ""
        score = "" if row.score is None else f"score {row.score:.2f}"
        line = Text.assemble(
            (row.folder.ljust(widths[0]), "cyan"), f"  {began:16}  {row.state.ljust(widths[1])}  {score}"
        )
        line.rstrip()
        console.print(line, soft_wrap=True)  # whole, so that the folder can be copied
        if row.verdict:
            text = row.verdict if len(row.verdict) <= LONGEST else f"{row.verdict[:LONGEST].rstrip()} …"
            console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))
