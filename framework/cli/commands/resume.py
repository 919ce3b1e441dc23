"""`python -m framework resume [FOLDER]`: continue an interrupted run, or an unfinished sweep.

A run continues in its folder with its original overrides. Of a sweep, finished and pruned trials are kept; its
overrides come from `multirun.yaml`, which Hydra writes before the first trial. Without a folder, what can be resumed is
listed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from framework.api.former_settings import renewed_words
from framework.api.run_folder import ENVIRONMENT, FINISHED, OVERRIDES, PRUNED, RunFolder
from framework.api.text.overrides import override_key
from framework.cli.arguments import load_surroundings
from framework.cli.commands import ResumeCommandConfig
from framework.cli.main import start
from framework.config.limits import check_file
from framework.hooks.session import current
from framework.run.interruption import resume_command
from framework.rundir.environment import Environment, enter
from framework.rundir.folder import REMOVED
from framework.rundir.read import read_run, state_of
from framework.rundir.store import fetch
from framework.sweep.folder import MULTIRUN, folders
from framework.util import lock
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError, display_run, is_url

RESUME = "hydra.callbacks.sweep_folder.resume"
OWN_KEYS = {RESUME, "hydra.sweep.dir"}
OUTPUTS = "outputs"
"""The folder of runs and sweeps, if no other is given."""


class ResumeCommand:
    """Resumes a run or a sweep."""

    def __init__(self, config: ResumeCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Continue the run or the sweep in a folder, or list those that can continue."""
        parser = CommandParser("resume", ResumeCommandConfig.__doc__)
        parser.add_argument(
            "folder",
            metavar="FOLDER",
            nargs="?",
            help="the folder of the run or the sweep, or the URL of a run; default: list what can be resumed",
        )
        location = parser.read(arguments).folder
        if location is None:
            for line in _resumable(Path.cwd()):
                print(line)
            return 0
        folder = fetch(location, required=True) if is_url(location) else Path(location).expanduser().absolute()
        session = current()
        is_run = (folder / OVERRIDES).exists() and not (folder / MULTIRUN).exists()
        words = _run(folder, location if is_url(location) else str(folder)) if is_run else _sweep(folder)
        load_surroundings(session, words)
        start(session, words)
        return 0


def _resumable(parent: Path) -> Iterator[str]:
    """Give a line for each run and each sweep below a folder that is not finished and that no process works on."""
    is_listed = False
    for folder, runs in folders(parent / OUTPUTS).items():
        states = [state for run in runs if (state := state_of(run, folder)) not in {FINISHED, PRUNED}]
        if not states or lock.holder(folder / lock.NAME):
            continue
        is_listed = True
        summary = states[0] if runs == [folder] else f"{len(states)} of {len(runs)} trials are not complete"
        yield f"{resume_command(folder)}    # {summary}"
    if not is_listed:
        yield "nothing to resume: no run below outputs/ was interrupted"


def _run(folder: Path, typed: str) -> list[str]:
    """Return the overrides that resume a run, after a change to the folder where it was started.

    Raises:
        FrameworkError: it is finished, a trial of a sweep, or was never begun.
    """
    if (folder.parent / MULTIRUN).exists():
        raise FrameworkError(f"{folder} is a trial of a sweep: resume the sweep with {resume_command(folder.parent)}")
    run = read_run(folder)
    if RunFolder(folder).status().get("state") == FINISHED:
        raise FrameworkError(f"{typed} is finished: there is nothing to resume; use rerun to run it again")
    _enter(folder)
    run_dir = QuotedString(typed, Quote.single).with_quotes()
    return [*(word for word in run.overrides if override_key(word) != "run_dir"), f"run_dir={run_dir}"]


def _sweep(folder: Path) -> list[str]:
    """Return the overrides that resume a sweep, after a change to the folder where it was started."""
    overrides = _read(folder)
    if begun := sorted(folder.glob(f"*/{ENVIRONMENT}")):
        _enter(begun[0].parent)
    sweep_dir = QuotedString(str(folder), Quote.single).with_quotes()
    # The folder and the switch are set again below; a key may be given only once.
    saved = [*overrides.hydra, *renewed_words(overrides.task)]
    sweep_words = [word for word in saved if override_key(word) not in OWN_KEYS | REMOVED]
    return ["-m", *sweep_words, f"hydra.sweep.dir={sweep_dir}", f"{RESUME}=true"]


def _read(folder: Path) -> DictConfig:
    """Return the overrides that started a sweep, those of Hydra and those of the run.

    Raises:
        FrameworkError: no sweep was started there, or its file cannot be read.
    """
    file = folder / MULTIRUN
    if not file.is_file():
        reason = f"it has neither a run's {OVERRIDES} nor a sweep's {MULTIRUN}: nothing was started here"
        raise FrameworkError(f"{folder}: {reason if folder.is_dir() else 'there is no such folder'}")
    check_file(file)
    try:
        words: DictConfig = OmegaConf.load(file).hydra.overrides
    except (OSError, YAMLError, OmegaConfBaseException, AttributeError) as error:
        raise FrameworkError(
            f"{file} is not a sweep's file: it has no overrides. Start the sweep again, with -m"
        ) from error
    return words


def _enter(folder: Path) -> None:
    """Go where a run was started, as its environment says; a run on a store may continue on another machine.

    Raises:
        FrameworkError: the environment cannot be read, or names a folder that is not here.
    """

    def missing(problem: str) -> None:
        if not is_url(display_run(folder)):
            raise FrameworkError(problem)
        print(f"{problem}: it runs from here", file=sys.stderr)

    if environment := RunFolder(folder).read(Environment, ENVIRONMENT):  # else no trial began
        enter(environment, missing)
