"""`python -m framework rerun RUN_DIR [OVERRIDES…] [--anyway]`: repeat a run in a new folder.

The inputs of the run are compared with the saved ones: the config before anything is written, the rows before anything
is trained. Different versions and commits are reported; they may change the result, and are often no longer available.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.api.plan import ExpectedRows
from framework.api.protocols import Start
from framework.api.records import DataResult, TrainResult
from framework.api.run_folder import ENVIRONMENT, OVERRIDES, SavedRun
from framework.api.text import override_key, quoted
from framework.cli.arguments import load_plugins, reject_duplicate_overrides, without_replaced
from framework.cli.commands import RerunCommandConfig
from framework.hooks.session import current
from framework.plan.load import load_plan, typed_in
from framework.run.launching import launched
from framework.rundir.environment import Commit, Environment, commit, enter, plugin_origins
from framework.rundir.read import ABSENT, differences, flat, read_run
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError, display_run
from framework.util.redact import HIDDEN
from framework.util.versions import installed

ANYWAY = "--anyway"


class RerunCommand:
    """Repeats the run of a folder."""

    def __init__(self, config: RerunCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Compose the config as before, compare it, run, and print the command that compares the results."""
        shell, session = Path.cwd(), current()
        run, changes, anyway = _read(arguments)
        environment = run.record(Environment, ENVIRONMENT)
        changes = typed_in(shell, changes)
        _enter(run, environment, anyway=anyway)
        keys = {override_key(word) for word in changes}
        saved = [word for word in run.overrides if override_key(word) != "run_dir"]
        words = [*without_replaced([word for word in saved if override_key(word) not in keys], changes), *changes]
        load_plugins(session, words)
        plan = load_plan(words)
        if os.path.realpath(plan.run_dir) == os.path.realpath(run.folder):
            raise FrameworkError(f"run_dir={plan.run_dir} is the run itself: give a new folder, or leave run_dir out")
        if (plan.run_dir / OVERRIDES).exists():
            raise FrameworkError(f"run_dir={plan.run_dir} holds another run: give a new folder, or leave run_dir out")
        if not anyway:
            now = load_plan(saved) if changes else plan
            _check_config(run, environment, now.config, now.options, keys)
            if not _covered("adapter.start", keys):
                _check_start(run, plan.start(weights=True))
        for line in _environment_changes(environment, plugin_origins(plan.selections.values(), session.plugins)):
            print(line, file=sys.stderr)
        if plan.config["data"] == run.config["data"] and not any(_covered(name, {"data"}) for name in keys):
            plan = dataclasses.replace(plan, expected_rows=_expected_rows(run, environment, required=not anyway))
        report = launched(plan)
        if report is not None:
            run_dirs = " ".join(display_run(folder, shell) for folder in (run.folder, plan.run_dir))
            print(f"compare: python -m framework diff {run_dirs}")
        return 0


def _read(arguments: Sequence[str]) -> tuple[SavedRun, list[str], bool]:
    parser = CommandParser("rerun", RerunCommandConfig.__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run")
    parser.add_overrides("settings to change from those of the run")
    parser.add_argument(ANYWAY, action="store_true", help="continue even if the config, folders or rows have changed")
    parsed = parser.read(arguments)
    reject_duplicate_overrides(parsed.overrides)
    return read_run(parsed.run_dir), parsed.overrides, parsed.anyway


def _enter(run: SavedRun, environment: Environment | None, *, anyway: bool) -> None:
    """Go where the run was started; a folder that is gone is refused, or passed over with `--anyway`."""

    def missing(problem: str) -> None:
        if not anyway:
            raise FrameworkError(f"{problem}: put it back, or add {ANYWAY} to continue without it")
        print(f"{problem}: continuing without it", file=sys.stderr)

    if environment is None:
        print(f"{run.folder} holds no {ENVIRONMENT}: it runs from here, and versions are not compared", file=sys.stderr)
    else:
        enter(environment, missing)


def _check_config(
    run: SavedRun,
    environment: Environment | None,
    config: Mapping[str, Any],
    options: Mapping[str, str],
    changed: set[str],
) -> None:
    """Refuse if the overrides of the run no longer give its config; new overrides of the user do not matter.

    Raises:
        FrameworkError: names each key with both values.
    """
    before, after = flat(run.config), flat(json.loads(json.dumps(config)))
    if environment is not None:
        before, after = {**before, **environment.options, **run.options}, after | dict(options)
    changed_settings = {
        name: (old, new)
        for name, (old, new) in differences(before, after).items()
        if not _covered(name, changed | {"run_dir"}) and HIDDEN not in f"{old}{new}"
        if (name, new) != ("trainer.answers_at_once", "auto")  # the plan chose the number
    }
    if changed_settings:
        head = (
            f"{run.folder} was made with a different config than its overrides give now: defaults or files have changed"
        )
        lines = [f"  {name}: {quoted(old)} then, {quoted(new)} now" for name, (old, new) in changed_settings.items()]
        # A setting that one of the two versions does not have cannot be given its former value.
        examples = (
            f"{name}={quoted(old)}" for name, (old, new) in changed_settings.items() if ABSENT not in (old, new)
        )
        example = next(examples, "")
        give = f"Give the values to use, for example {example}, or continue" if example else "Continue"
        raise FrameworkError("\n".join([head, *lines, f"{give} with {ANYWAY}"]))


def _check_start(run: SavedRun, start: Start | None) -> None:
    """Refuse if the adapter that the training starts from has other weights now.

    Raises:
        FrameworkError: with both hashes.
    """
    trained = run.record(TrainResult, "train.json")
    if start and trained and trained.lineage and start.sha256 != (before := trained.lineage[0].sha256):
        raise FrameworkError(
            f"adapter.start={start.place} has changed: the SHA-256 of its weights was {before[:12]} then, and is "
            f"{start.sha256[:12]} now. Restore it, give another adapter.start, or continue with {ANYWAY}"
        )


def _covered(name: str, keys: set[str]) -> bool:
    """Whether a key is one of `keys` or lies below one."""
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def _environment_changes(environment: Environment | None, plugins: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each package, plugin and commit that differs from the environment of the run."""
    if environment is None:
        return
    now = {name: version for name in environment.packages if (version := installed(name))}
    before, after = {"python": environment.python, **environment.packages}, {"python": platform.python_version(), **now}
    for name, (old, new) in differences(before, after).items():
        yield f"{name}: {old} then, {new} now"
    for name, (old, new) in differences(environment.plugins, plugins).items():
        if name in environment.plugins and environment.plugins[name].partition(" ")[0] not in environment.packages:
            yield f"plugin '{name}': {old} then, {new} now"
    folders = {"the working folder": (environment.commit, Path.cwd())}
    root = Path(__file__).resolve().parents[3]
    if environment.framework_commit != environment.commit:
        folders["the framework"] = (environment.framework_commit, root)
    for label, (old_commit, folder) in folders.items():
        new_commit = commit(folder)
        if old_commit and old_commit != new_commit:
            yield f"commit of {label}: {_commit(old_commit)} then, {_commit(new_commit)} now"
        elif old_commit and old_commit.dirty:
            yield f"{label} had uncommitted changes, which cannot be compared"


def _commit(value: Commit | None) -> str:
    return "none" if value is None else value.commit[:12] + (" with changes" if value.dirty else "")


def _expected_rows(run: SavedRun, environment: Environment | None, *, required: bool) -> ExpectedRows | None:
    """Return what the data stage compares its rows with; None if the run did not get so far."""
    data = run.record(DataResult, "data.json")
    saved = (environment.fingerprint if environment else "") or (data.fingerprint if data else "")
    return ExpectedRows(saved, str(run.folder), required) if saved else None
