"""`python -m framework runs [FOLDER] [--json]`: the runs and sweeps of a folder with their verdicts, newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from hydra.errors import HydraException
from rich.console import Console
from rich.padding import Padding
from rich.text import Text
from yaml import YAMLError

from framework.api import records
from framework.api.records import Sweep
from framework.api.run_folder import REPORT, STATUS, part, read_plain
from framework.api.text import count, visible, winner_text
from framework.cli.commands import RunsCommandConfig
from framework.cli.commands.resume import OUTPUTS
from framework.rundir.read import started, state_of
from framework.rundir.store import fetch_runs
from framework.sweep.folder import SWEEP, folders, planned_trials
from framework.util.command import CommandParser, this_program
from framework.util.errors import FrameworkError, display_run, is_url

VERDICT_CHARACTERS = 200
"""Characters of a verdict in the list."""


@dataclass(frozen=True)
class Row:
    """A run, or a sweep as a whole.

    Attributes:
        folder: as it is typed here.
        started: when it started, in ISO 8601 with the zone; for a sweep, when its first trial did.
        state: for a run the state in its `status.json`, or `killed`; for a sweep how many trials began, by their
            states.
        score: of the verdict, from -1 to 1; None if there is none.
        verdict: its first sentence, or why the run failed; for a sweep, its best trial.
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
            "folder", nargs="?", default=OUTPUTS, metavar="FOLDER", help=f"or a URL of a store; default: {OUTPUTS}"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsed = parser.read(arguments)
        folder = fetch_runs(parsed.folder) if is_url(parsed.folder) else Path(parsed.folder)
        if not folder.is_dir() and parsed.folder != OUTPUTS and not is_url(parsed.folder):
            raise FrameworkError(f"{folder}: there is no such folder")
        rows = [_row(home, runs) for home, runs in folders(folder.absolute()).items()]
        rows.sort(key=lambda row: row.started, reverse=True)
        if parsed.json:
            print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
        elif not rows:
            print(f"no runs below {parsed.folder}: `{this_program()}` starts the quickstart")
        else:
            _show(rows)
        return 0


def _row(home: Path, runs: Sequence[Path]) -> Row:
    begun = min((started(run) for run in runs), default="")
    if runs == [home]:
        report, status = (read_plain(home / name, damaged=None) for name in (REPORT, STATUS))  # others are still listed
        lines = part(report, list, "verdict", "lines") or [part(status, str, "error") or ""]
        lines = [part(report, str, "verdict", "summary") or lines[0]]
        score = part(report, int | float, "verdict", "score")
        return Row(display_run(home), begun, state_of(home, home), score, visible(str(lines[0]), " "))
    states = [state_of(run, home) for run in runs]
    tally = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    words, score = "", None
    with suppress(OSError, ValueError):  # there is none, or it is damaged
        sweep = records.load(Sweep, home / SWEEP)
        for best in (trial for trial in sweep.trials if trial.number == sweep.best):
            words, score = f"best: {winner_text(sweep)}", best.score
    return Row(display_run(home), begun, f"{_begun(len(runs), home)}: {tally}", score, visible(words, " "))


def _begun(trials: int, home: Path) -> str:
    try:
        total = planned_trials(home)
    except (OSError, ValueError, HydraException, YAMLError):  # damaged
        total = None
    return count(trials, "trial") if total in {None, trials} else f"{trials} of {count(total or 0, 'trial')}"


def _local(began: str) -> str:
    try:
        return f"{datetime.fromisoformat(began).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:  # unknown
        return ""


def _show(rows: Sequence[Row]) -> None:
    """Print two lines for each: where, when and how it ended, and below that the verdict."""
    console = Console(markup=False, emoji=False, highlight=False)
    widths = [max(len(row.folder) for row in rows), max(len(row.state) for row in rows)]
    for row in rows:
        began = _local(row.started)
        score = "" if row.score is None else f"score {row.score:.2f}"
        line = Text.assemble(
            (row.folder.ljust(widths[0]), "cyan"), f"  {began:16}  {row.state.ljust(widths[1])}  {score}"
        )
        line.rstrip()
        console.print(line, soft_wrap=True)  # whole, so that the folder can be copied
        if row.verdict:
            text = (
                row.verdict
                if len(row.verdict) <= VERDICT_CHARACTERS
                else f"{row.verdict[:VERDICT_CHARACTERS].rstrip()} …"
            )
            console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))
