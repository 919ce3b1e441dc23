"""`python -m framework remove [RUN…] [--older-than DAYS] [--keep N] [--yes]`: remove runs and sweeps below outputs/.

Everything is listed with its size before it is removed. A run that a process works on is never removed, and nothing
outside `outputs/`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path

from framework.api.run_folder import OVERRIDES, STATUS
from framework.api.text import count
from framework.cli.commands import RemoveCommandConfig
from framework.cli.commands.resume import OUTPUTS
from framework.rundir.read import started, state_of
from framework.sweep.folder import MULTIRUN, folders
from framework.util import lock
from framework.util.command import CommandParser, this_program
from framework.util.errors import FrameworkError, display_path

REMEDY = "leave it out"
MOST = 100_000
"""The most days, and runs, that an option may name."""


@dataclass(frozen=True)
class Candidate:
    """A run or a sweep.

    Attributes:
        folder: its folder.
        runs: the folder itself, or the trials of a sweep.
        started: when the last of them started; None if no file says so.
    """

    folder: Path
    runs: tuple[Path, ...]
    started: datetime | None

    @property
    def size(self) -> int:
        """Bytes of its files; what a link points to is not removed, and does not count."""
        files = (Path(parent, name) for parent, _, names in os.walk(self.folder) for name in names)
        return sum(file.lstat().st_size for file in files)

    @property
    def holder(self) -> str:
        """Who works on it; empty if nobody does."""
        # A worker of a launcher may hold a trial after the process of the sweep has ended.
        locks = [folder / lock.NAME for folder in dict.fromkeys((self.folder, *self.runs))]
        return next((by for file in locks if (by := lock.holder(file))), "")

    def line(self) -> str:
        """Return where it is, its size, and how it ended."""
        states = ", ".join(dict.fromkeys(state_of(run, self.folder) for run in self.runs)) or "no trial began"
        started = f"{self.started:%Y-%m-%d %H:%M}" if self.started else ""
        return f"{display_path(self.folder)}  {_megabytes(self.size)}  {started}  {states}"


class RemoveCommand:
    """Removes runs."""

    def __init__(self, config: RemoveCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """List what is to be removed, ask, and remove it."""
        parser = CommandParser("remove", RemoveCommandConfig.__doc__)
        parser.add_argument("runs", nargs="*", metavar="RUN", help=f"folders of runs or sweeps below {OUTPUTS}")
        parser.add_argument("--older-than", type=float, metavar="DAYS", help="remove runs that started before that")
        parser.add_argument("--keep", type=int, metavar="N", help="remove all but the newest N runs and sweeps")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parsed = parser.read(arguments)
        rules = [parsed.older_than, parsed.keep]
        if bool(parsed.runs) == any(rule is not None for rule in rules):
            raise FrameworkError(
                f"give folders of runs, or --older-than DAYS or --keep N: `{this_program()} runs` lists the runs"
            )
        if any(rule is not None and not 0 <= rule <= MOST for rule in rules):
            raise FrameworkError(f"--older-than and --keep take a number from 0 to {MOST:,}")
        candidates = [_read_candidate(word) for word in parsed.runs] or list(_select(parsed.older_than, parsed.keep))
        candidates = list(dict.fromkeys(candidates))
        if not candidates:
            print("nothing to remove")
            return 0
        for candidate in candidates:
            print(candidate.line())
        total = f"{count(len(candidates), 'folder')}, {_megabytes(sum(candidate.size for candidate in candidates))}"
        if not parsed.yes and not _confirm(total):
            print("nothing was removed")
            return 0
        for candidate in candidates:
            _remove(candidate)
        print(f"removed {total}")
        return 0


def _confirm(total: str) -> bool:
    if not sys.stdin.isatty():
        raise FrameworkError(f"{total} would be removed, and there is no terminal to ask: add --yes")
    return input(f"Remove {total}? [y/N] ").strip().lower() in {"y", "yes"}


def _candidate(folder: Path, runs: Sequence[Path]) -> Candidate:
    times = [time for run in runs if (time := _read_time(started(run)))]
    return Candidate(folder, tuple(runs), max(times, default=None))


def _read_time(text: str) -> datetime | None:
    """Read a time; None if there is none, or it is damaged or without a zone, so that no rule selects the run."""
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else None
    return None


def _read_candidate(word: str) -> Candidate:
    """Return a run or a sweep that is named.

    Raises:
        FrameworkError: there is none, it is not below `outputs/`, or a process works on it.
    """
    folder, outputs = Path(word).expanduser().absolute(), Path(OUTPUTS).absolute()
    if not folder.is_dir():
        raise FrameworkError(f"{word}: there is no such folder")
    if outputs.resolve() not in folder.resolve().parents or folder.is_symlink():
        raise FrameworkError(f"{word} is not below {outputs}: only runs there are removed")
    if (folder.parent / MULTIRUN).exists():
        raise FrameworkError(f"{word} is a trial of a sweep: remove the sweep, {display_path(folder.parent)}")
    if not (folder / MULTIRUN).exists() and not ((folder / OVERRIDES).exists() and (folder / STATUS).exists()):
        inside = len(folders(folder))
        reason = f"it holds {count(inside, 'run')}; name them" if inside else "no run wrote it"
        raise FrameworkError(f"{word} is not the folder of a run or a sweep: {reason}")
    candidate = _candidate(folder, folders(folder).get(folder, []))
    if by := candidate.holder:
        raise lock.locked(folder, by, REMEDY)
    return candidate


def _select(older_than: float | None, keep: int | None) -> Iterator[Candidate]:
    """Give the runs and sweeps below `outputs/` that the rules select, oldest first; those that run are kept."""
    every = [_candidate(folder, runs) for folder, runs in folders(Path(OUTPUTS).absolute()).items()]
    dated = sorted((candidate for candidate in every if candidate.started), key=attrgetter("started"))
    limit = datetime.now().astimezone() - timedelta(days=older_than or 0)
    for candidate in dated[: len(dated) - (keep or 0)] if keep is None or keep < len(dated) else []:
        if candidate.folder.is_symlink() or (candidate.started and candidate.started > limit):
            continue
        if by := candidate.holder:
            print(f"{display_path(candidate.folder)} is kept: locked by {by}")
        else:
            yield candidate


def _remove(candidate: Candidate) -> None:
    """Remove a folder while its lock is held, so that no run starts in it, and folders that are empty then.

    Raises:
        FrameworkError: a run has started in it meanwhile, or the system refuses.
    """
    try:
        with lock.folder(candidate.folder, REMEDY):
            shutil.rmtree(candidate.folder)
        outputs = Path(OUTPUTS).absolute()
        for parent in candidate.folder.parents:
            if parent == outputs or any(parent.iterdir()):
                break
            parent.rmdir()
    except OSError as error:
        raise FrameworkError(f"{candidate.folder} cannot be removed: {error.strerror or error}") from error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
