"""`python -m framework resume SWEEP_FOLDER`: rerun the missing trials of a sweep with its original overrides.

Finished and pruned trials are kept. The overrides come from `multirun.yaml`, which Hydra writes before the first trial.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from framework.api import records
from framework.api.run_folder import ENVIRONMENT, OVERRIDES
from framework.api.text.overrides import override_key
from framework.cli.arguments import load_surroundings
from framework.cli.commands import ResumeCommandConfig
from framework.cli.main import start
from framework.config.compose import add_folder
from framework.hooks.session import Session, current
from framework.rundir.environment import Environment
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError

MULTIRUN = "multirun.yaml"
RESUME = "hydra.callbacks.sweep_folder.resume"
OURS = {RESUME, "hydra.sweep.dir"}


class ResumeCommand:
    """Resumes a sweep."""

    def __init__(self, config: ResumeCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Run the sweep again in its folder, without the completed trials."""
        parser = CommandParser("resume", ResumeCommandConfig.__doc__)
        parser.add_argument("sweep_folder", metavar="SWEEP_FOLDER", help="the folder of the sweep")
        folder = Path(parser.read(arguments).sweep_folder).expanduser().absolute()
        session, overrides = current(), _read(folder)
        _enter(session, folder)
        place = QuotedString(str(folder), Quote.single).with_quotes()
        sweep_words = [word for word in (*overrides.hydra, *overrides.task) if override_key(word) not in OURS]
        words = ["-m", *sweep_words, f"hydra.sweep.dir={place}", f"{RESUME}=true"]
        load_surroundings(session, words)
        start(session, words)
        return 0


def _read(folder: Path) -> DictConfig:
    """Return the words of Hydra and of the run that started the sweep.

    Raises:
        FrameworkError: no sweep was started there, or its file cannot be read.
    """
    file = folder / MULTIRUN
    if not file.is_file():
        reason = (
            "it is a run, and a run is done again with rerun" if (folder / OVERRIDES).exists() else "no sweep began"
        )
        missing = "there is no such folder" if not folder.is_dir() else f"it holds no {MULTIRUN}: {reason}"
        raise FrameworkError(f"{folder}: {missing}")
    try:
        words: DictConfig = OmegaConf.load(file).hydra.overrides
    except (OSError, YAMLError, OmegaConfBaseException, AttributeError) as error:
        raise FrameworkError(
            f"{file} is not a sweep's file: it has no overrides. Start the sweep again, with -m"
        ) from error
    return words


def _enter(session: Session, folder: Path) -> None:
    """Go where the sweep was started, and search the folders that `--config-dir` named, as its trials tell.

    Raises:
        FrameworkError: one of them is not here.
    """
    file = next(iter(sorted(folder.glob(f"*/{ENVIRONMENT}"))), None)
    if file is None:  # no trial began
        return
    environment = records.load(Environment, file)
    if not Path(environment.folder).is_dir():
        raise FrameworkError(f"the sweep was started in {environment.folder}, which is not here")
    if Path(environment.folder).resolve() != Path.cwd().resolve():
        print(f"runs in {environment.folder}, where it was started", file=sys.stderr)
        os.chdir(environment.folder)
    for place in environment.config_dirs:
        add_folder(session, place)
