"""A run folder read back: settings and results, for the commands that read runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from framework.api.component import GROUPS
from framework.api.fields import fields
from framework.api.former_settings import renewed_config
from framework.api.run_folder import OVERRIDES, PLAN, RUNNING, STATUS, RunFolder, SavedRun, read_plain
from framework.api.selection import as_plain
from framework.hooks.session import current
from framework.rundir.folder import REMOVED, check_overrides
from framework.rundir.store import fetch, holder, is_record
from framework.util import lock
from framework.util.command import this_program
from framework.util.errors import FrameworkError, is_url, of_the_system

T = TypeVar("T")
DEEPEST = 4
"""How far below a folder runs are searched for: `./outputs/NAME/sweep_TIME/0`."""


class _Absent:
    """What stands for a key that is not there: null is a value."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def read_run(folder: str | Path, *, whole: bool = False) -> SavedRun:
    """Read the config and the overrides of a run in a folder, or in one on a store by its URL.

    Args:
        folder: of the run.
        whole: whether all files are fetched from a store, weights and exports too; else only the records.

    Raises:
        FrameworkError: there is no such folder, no run made it, or a file of it cannot be read.
    """
    if isinstance(folder, str) and is_url(folder):
        folder = fetch(folder, None if whole else is_record, required=True)
    folder = Path(folder).expanduser().absolute()
    try:
        there = folder.is_dir()
    except OSError as error:  # of a name that is too long; a folder that is absent or closed to this user is none
        raise of_the_system(error) or FrameworkError(f"{folder}: {error.strerror}") from error
    if not there:
        raise FrameworkError(f"{folder}: there is no such folder")
    missing_files = [name for name in (OVERRIDES, PLAN) if not (folder / name).exists()]
    if missing_files:
        trials = sorted(int(file.parent.name) for file in folder.glob(f"*/{OVERRIDES}") if file.parent.name.isdigit())
        reason = f"it is a sweep; give one of its trials: {folder / str(trials[0])}" if trials else "no run wrote it"
        if missing_files == [PLAN]:
            reason = "the run was refused before it began"
        raise FrameworkError(f"{folder} holds no {missing_files[-1]}: {reason}")
    config, words = _json(folder / PLAN, dict), _json(folder / OVERRIDES, object)
    for *groups, name in (key.split(".") for key in REMOVED):
        section: Any = config
        for group in groups:
            section = section.get(group) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(name, None)
    renewed, options = renewed_config(config)
    for group, option in options.items():
        components = current().plugins.components(group)
        defaults = (
            {field.name: as_plain(field.default) for field in fields(components[option].schema)}
            if option in components
            else {}
        )
        renewed[group] = {**defaults, **renewed[group]}
    if options:
        renewed |= {name: {} for name, group in GROUPS.items() if group.several and name not in renewed}
    return SavedRun(folder, renewed, check_overrides(words, folder / OVERRIDES), options)


def runs_below(root: Path) -> list[Path]:
    """Return the folders of the runs in a folder and below it, trials of sweeps among them, by name."""
    runs, level, visited = list[Path](), [root], set[tuple[int, int]]()
    # Level by level, not `rglob`: a link or a data folder below may be endlessly deep.
    for _ in range(DEEPEST + 1):
        runs += [folder for folder in level if os.path.isfile(folder / STATUS)]  # noqa: PTH113 - it may not be ours to read
        level = [below for folder in level for below in _folders(folder, visited)]
    return sorted(runs)


def _folders(parent: Path, visited: set[tuple[int, int]]) -> list[Path]:
    """Return the folders in a folder that are not `visited`; none if it cannot be read, or is removed meanwhile."""
    folders = []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in sorted(entries, key=os.DirEntry.is_symlink):  # a run is listed where it is, not by a link to it
            with suppress(OSError):
                status = entry.stat()
                if stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in visited:
                    visited.add((status.st_dev, status.st_ino))
                    folders.append(Path(entry.path))
    return folders


def newest_run(place: Path) -> Path:
    """Return the run in a folder or below it that was started last, of those with trained weights.

    Raises:
        FrameworkError: there is none.
    """
    trained = [run for run in runs_below(place.absolute()) if (run / RunFolder.CHECKPOINT).is_dir()]
    if not trained:
        raise FrameworkError(f"no run below {place} has trained weights: `{this_program()}` trains the quickstart")
    return max(trained, key=started)


def started(run: Path) -> str:
    """Return when a run began, in ISO 8601; empty if that is unknown, also if its status is damaged."""
    with suppress(FrameworkError):
        return str(RunFolder(run).status().get("started", ""))
    return ""


def state_of(run: Path, home: Path) -> str:
    """Return the state of a run; `killed` if it says that it is running and no process holds `home`, its folder.

    If its status is damaged, it is `unreadable`.
    """
    try:
        state = str(RunFolder(run).status().get("state", ""))
    except FrameworkError:
        return "unreadable"
    return "killed" if state == RUNNING and not lock.holder(home / lock.NAME) and not holder(home) else state


def _json(file: Path, kind: type[T]) -> T:
    value = read_plain(file)
    if not isinstance(value, kind):
        raise FrameworkError(
            f"{file} is not what a run writes: it holds a {type(value).__name__}, not a {kind.__name__}"
        )
    return value


def flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; lists and empty mappings are values."""
    values: dict[str, Any] = {}
    for key, part in value.items():
        # An empty mapping is a value: without it, `{}` and an absent key would be equal.
        below = flat(part, f"{path}{key}.") if isinstance(part, Mapping) and part else {f"{path}{key}": part}
        values |= below
    return values


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of each key in which two mappings differ, `ABSENT` if one has none."""
    keys = dict.fromkeys([*left, *right])
    pairs = {key: (left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
