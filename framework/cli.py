"""The command line: `python -m framework [COMMAND | OVERRIDES…]`.

A first word that is neither an override nor an option is a command; everything else goes to Hydra. Exit codes: 0 done,
1 a failure of the program, 2 a mistake that the user can mend.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework import __version__, sweep
from framework.check import check, explain
from framework.compose import CONFIG_NAME, conf_dir, register
from framework.errors import FrameworkError, unknown
from framework.folder import save_overrides, saved_overrides
from framework.plan import make_plan
from framework.plugins import commands
from framework.protocols import Launcher

USER_MISTAKE = 2
QUICKSTART = "+experiment=quickstart"


def main() -> None:
    """Run a command or a training; never returns where it fails."""
    # Hydra would print errors itself and exit with 1; with this it hands them on.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        words = sys.argv[1:]
        if words == ["--version"]:
            print(__version__)  # noqa: T201
            sys.exit()
        if words and is_command(words[0]):
            sys.exit(run_command(words[0], words[1:]))
        register()
        sys.argv[1:] = complete(words)
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(run)()
    except Exception as error:
        if not is_mistake(error):
            raise
        print(explain(error), file=sys.stderr)  # noqa: T201
        sys.exit(USER_MISTAKE)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        sweep.summarize()


def run(config: DictConfig) -> float | None:
    """Run one composed config; the task function of Hydra. Returns the objective."""
    job = HydraConfig.get()
    sweeping = job.mode is RunMode.MULTIRUN
    run_dir = Path(job.runtime.output_dir) if sweeping else None
    overrides = tuple(job.overrides.task)
    if run_dir:  # Hydra has made the folder; the table of the sweep shows the settings of a point that fails too
        save_overrides(run_dir, overrides)
    try:
        check(config)
        plan = make_plan(config, run_dir=run_dir, overrides=overrides)
        launcher: Launcher = plan.launch.create()
        report = launcher.launch(plan)
    except FrameworkError as error:
        if sweeping:  # Hydra notes the failure of this point and goes on with the others
            traceback.clear_frames(error.__traceback__)
            raise
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(USER_MISTAKE)
    except Exception as error:
        # Hydra keeps the error of a point until the sweep ends, and its frames would keep the point's model alive.
        traceback.clear_frames(error.__traceback__)
        raise
    return report.objective.value if report else None


def is_mistake(error: Exception) -> bool:
    """Whether the user can mend it: Hydra's errors, ours, and what Hydra lets through while it reads a config."""
    if isinstance(error, CompactHydraException | OmegaConfBaseException):
        return True
    running = any(frame.f_code is run.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))
    return not running and (isinstance(error, ValueError) or hasattr(error, "problem_mark"))


def is_command(word: str) -> bool:
    """Whether the first word is a command: a plain name, no `key=value`, no `--option`, no `+key`."""
    return re.fullmatch(r"[A-Za-z][\w-]*", word) is not None


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run a command by name.

    Raises:
        FrameworkError: there is none of that name.
    """
    known = commands()
    if name not in known:
        raise FrameworkError(unknown("command", name, known))
    component = known[name]
    code: int = component.load()(component.schema()).main(arguments)
    return code


def complete(words: list[str]) -> list[str]:
    """Add what the command line leaves out.

    The folder of an earlier run brings the overrides that made it. Where neither an experiment nor a model or data are
    chosen, the run is the quickstart.
    """
    keys = {key(word) for word in words}
    run_dir = next((word.partition("=")[2].strip("'\"") for word in words if key(word) == "run_dir"), None)
    earlier = [word for word in saved_overrides(run_dir) if key(word) not in keys] if run_dir else []
    if not earlier and not keys & {"experiment", "model", "data"}:
        earlier = [QUICKSTART]
    # Right before the first override: the command line's parser takes overrides only in one piece.
    first = next((place for place, word in enumerate(words) if re.match(r"[^-].*=|~", word)), 0)
    return [*words[:first], *earlier, *words[first:]]


def key(word: str) -> str:
    """Return the key of an override: `experiment` of `+experiment=quickstart`."""
    return word.partition("=")[0].lstrip("+~")
