"""The command line: `python -m framework [COMMAND | OVERRIDES…]`.

A first word that is neither an override nor an option is a command; everything else goes to Hydra. Exit codes: 0 done,
1 a failure of the program, 2 a mistake that the user can mend.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework import __version__, sweep
from framework.component import GROUPS
from framework.compose import CONFIG_NAME, add_folder, announce_folders, conf_dir, register
from framework.errors import FrameworkError, unknown
from framework.fields import fields
from framework.folder import save_overrides, saved_overrides
from framework.journal import note_failure
from framework.plan import make_plan
from framework.plugin_file import load_file
from framework.plugins import commands, components
from framework.protocols import Launcher

USER_MISTAKE = 2
QUICKSTART = "+experiment=quickstart"


def main() -> None:
    """Run a command or a training; never returns where it fails."""
    # Hydra would print errors itself and exit with 1; with this it hands them on.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    gc.disable()  # what a start makes is kept to the end: there is nothing to collect before a run begins
    words: list[str] = []
    try:
        words = take_config_dir(sys.argv[1:])
        if words == ["--version"]:
            print(__version__)  # noqa: T201
            sys.exit()
        if words and is_command(words[0]):
            load_plugins(words)
            sys.exit(run_command(words[0], words[1:]))
        check_twice(words)
        sys.argv[1:] = words = complete(words)
        check_options(words)
        load_plugins(words)
        register()
        announce_folders()
        look_first(words)
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(run)()
    except Exception as error:
        if not is_mistake(error):
            raise
        from framework.diagnose import diagnose  # noqa: PLC0415 - needed for a mistake only

        print(diagnose(error, words), file=sys.stderr)  # noqa: T201
        sys.exit(USER_MISTAKE)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.enable()
        sweep.summarize()


def look_first(words: Sequence[str]) -> None:
    """Do before Hydra what it does too late, or slowly: the points of a sweep, a mistyped key, the help.

    Raises:
        FrameworkError: the words are wrong.
    """
    if {"-m", "--multirun"} & set(words):
        from framework.diagnose import check_sweep  # noqa: PLC0415 - a run need not pay for it

        check_sweep(words)
    elif sets_unknown_key(words):
        from framework.diagnose import mistakes  # noqa: PLC0415 - as above

        if lines := mistakes(words):
            raise FrameworkError("\n".join(lines))
    if {"-h", "--help"} & set(words):
        from framework.help import help_text  # noqa: PLC0415 - as above

        arguments = get_args_parser().parse_args(list(words))
        print(help_text(arguments.overrides, resolve=arguments.resolve))  # noqa: T201
        sys.exit()


def sets_unknown_key(words: Sequence[str]) -> bool:
    """Whether a word sets what no option of its group has; Hydra would compose everything to find that out."""
    for word in words:
        group, _, below = key(word).partition(".")
        if below and group in GROUPS and not GROUPS[group].several:
            names = {field.name for option in components(group).values() for field in fields(option.schema)}
            if below.partition(".")[0] not in names:
                return True
    return False


def run(config: DictConfig) -> float | None:
    """Run one composed config; the task function of Hydra. Returns the objective."""
    gc.enable()
    job = HydraConfig.get()
    run_dir = Path(job.runtime.output_dir) if job.mode is RunMode.MULTIRUN else None
    # Unresolved: an interpolation in a word is to be saved as it was typed.
    overrides = tuple(OmegaConf.to_container(job.overrides.task, resolve=False))
    if run_dir:  # Hydra has made the folder; the table of the sweep shows the settings of a point that fails too
        save_overrides(run_dir, overrides)
    try:
        plan = make_plan(config, run_dir=run_dir, overrides=overrides)
        launcher: Launcher = plan.launch.create()
        report = launcher.launch(plan)
    except FrameworkError as error:
        if run_dir:  # Hydra notes the failure of this point and goes on with the others
            note_failure(run_dir, error)
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
    running = any(
        frame.f_code in {run.__code__, run_command.__code__} for frame, _ in traceback.walk_tb(error.__traceback__)
    )
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
    gc.enable()
    code: int = component.load()(component.schema()).main(arguments)
    return code


def load_plugins(words: Sequence[str]) -> None:
    """Load the files of `plugins=[./mine.py]`: what they register has to be known before anything is composed.

    Raises:
        FrameworkError: the list cannot be read, or a file cannot be loaded.
    """
    for word in words:
        if "=" in word and key(word) == "plugins":
            value = word.partition("=")[2]
            if not re.fullmatch(r"\[.*\]", value, re.DOTALL):
                message = f"{word}: plugins is a list of files: plugins=[{value or './mine.py'}]"
                raise FrameworkError(message)
            for path in OverridesParser.create().parse_override(word).value():
                load_file(str(path))


def check_twice(words: Sequence[str]) -> None:
    """Refuse a key that is set twice: Hydra would take the last and drop the first without a word.

    Raises:
        FrameworkError: both words.
    """
    seen: dict[str, str] = {}
    for word in words:
        if re.match(r"[^-].*=", word, re.DOTALL) and (first := seen.setdefault(key(word), word)) is not word:
            message = f"{first} and {word} set the same key: give it once"
            raise FrameworkError(message)


def check_options(words: Sequence[str]) -> None:
    """Refuse an option that Hydra does not have, in one line: its own parser would print half a page of usage.

    Raises:
        FrameworkError: the option and those that there are.
    """
    parser = get_args_parser()
    valid = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - no other way

    def refuse(message: str) -> NoReturn:
        raise FrameworkError(message)

    parser.error = refuse
    for word in parser.parse_known_args(list(words))[1]:
        message = f"unknown option '{word}'. Valid: {', '.join(sorted(valid))}"
        raise FrameworkError(message)


def take_config_dir(words: Sequence[str]) -> list[str]:
    """Take Hydra's `--config-dir FOLDER` out of the words: that folder is treated as `./conf` is.

    Raises:
        FrameworkError: there is no such folder.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    known, rest = parser.parse_known_args(words)
    for folder in known.config_dir:
        add_folder(folder)
    return rest


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
