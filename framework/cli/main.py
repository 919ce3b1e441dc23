"""The command line: `python -m framework [COMMAND | OVERRIDES…]`.

A first word that is neither an override nor an option is a command; everything else goes to Hydra. Exit codes: 0 done,
1 a failure of the program, 2 a mistake that the user can mend.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework import __version__
from framework.api.protocols import Launcher
from framework.api.records import Report
from framework.api.run_folder import RunFolder, is_resumed
from framework.cli.arguments import (
    check_twice,
    chooses_preset,
    complete,
    is_command,
    load_plugins,
    load_surroundings,
    take_config_dir,
)
from framework.config.check import sets_unknown_key
from framework.config.compose import CONFIG_NAME, conf_dir, register
from framework.hooks.local_file import lend_files, load_file
from framework.hooks.session import current
from framework.plan.make import make_plan
from framework.rundir.folder import save_overrides, saved_overrides
from framework.rundir.status import note_failure
from framework.sweep import folder, gpu, locks
from framework.util.errors import USER_MISTAKE, DoesNotFitError, FrameworkError, PrunedError, unknown

SWEEP = {"-m", "--multirun", "hydra.mode=MULTIRUN"}
"""Words that make a sweep."""
INTERRUPTED, BROKEN_PIPE = 130, 141


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
            code = run_command(words[0], words[1:])
            sys.stdout.flush()  # what a closed pipe does not take is to be known here, not at exit
            sys.exit(code)
        check_twice(words)
        words = complete(words)
        start(words)
    except BrokenPipeError:  # `| head` has seen enough; nothing more can be written, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        if not is_mistake(error):
            raise
        from framework.plan.diagnose import diagnose  # noqa: PLC0415 - needed for a mistake only

        print(diagnose(error, words), file=sys.stderr)  # noqa: T201
        sys.exit(USER_MISTAKE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        gc.enable()
        current().shared.close()
        current().on_exit.close()


def start(words: Sequence[str]) -> None:
    """Run what the words of a command line say: a run, or the points of a sweep.

    Raises:
        FrameworkError: the words are wrong, or a point of a sweep failed.
    """
    sys.argv[1:] = words
    load_surroundings(words)
    if SWEEP & set(words):
        lend_files(current().plugins)
    register(current())
    look_first(words)
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(run)()


def look_first(words: Sequence[str]) -> None:
    """Do before Hydra what it does too late, or slowly: the points of a sweep, a mistyped key, the help.

    Raises:
        FrameworkError: the words are wrong.
    """
    if SWEEP & set(words):
        from framework.plan.diagnose import check_sweep  # noqa: PLC0415 - a run need not pay for it

        check_sweep(words)
    elif sets_unknown_key(words):
        from framework.plan.diagnose import mistakes  # noqa: PLC0415 - as above

        if lines := mistakes(words):
            raise FrameworkError("\n".join(lines))
    if {"-h", "--help"} & set(words):
        from framework.config.help import help_text  # noqa: PLC0415 - as above

        arguments = get_args_parser().parse_args(list(words))
        print(help_text(arguments.overrides, resolve=arguments.resolve), flush=True)  # noqa: T201
        sys.exit()


def run(config: DictConfig) -> float | None:
    """Run one composed config; the task function of Hydra. Returns the objective."""
    gc.enable()
    job = HydraConfig.get()
    # Unresolved: an interpolation in a word is to be saved as it was typed.
    overrides = tuple(OmegaConf.to_container(job.overrides.task, resolve=False))
    if job.mode is not RunMode.MULTIRUN:
        return _run(config, None, overrides, "")
    run_dir = Path(job.runtime.output_dir)
    with locks.point(run_dir):
        if is_resumed(job) and RunFolder(run_dir).is_complete and saved_overrides(str(run_dir)) == [*overrides]:
            return RunFolder(run_dir).objective
        folder.start_anew(run_dir)
        # Hydra has made the folder; the table of the sweep shows the settings of a point that fails too.
        save_overrides(run_dir, overrides)
        return _run(config, run_dir, overrides, folder.name_of(Path(job.sweep.dir)))


def _run(config: DictConfig, run_dir: Path | None, overrides: tuple[str, ...], name: str) -> float | None:
    """Run a config, and see to it that its errors are told. `run_dir` is the folder of a point of the sweep `name`."""
    try:
        report = _launch(config, run_dir, overrides, name)
    except DoesNotFitError as error:
        if run_dir is None:
            print(error, file=sys.stderr)  # noqa: T201
            sys.exit(USER_MISTAKE)
        note_failure(run_dir, error)  # the table of the sweep lists it as passed over
        return None
    except PrunedError:  # only a sweep gives a run up, and its table lists the point
        return None
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


def _launch(config: DictConfig, run_dir: Path | None, overrides: tuple[str, ...], name: str) -> Report | None:
    """Plan a run, and have its launcher run it."""
    works = run_dir is not None and current().sweep_dir is None
    for path in config.plugins if works else ():  # the worker of a launcher has not read them
        load_file(current().plugins, path)
    plan = make_plan(config, run_dir=run_dir, overrides=overrides, sweep=name)
    if chooses_preset(overrides):
        from framework.plan.preset_conflicts import overruled  # noqa: PLC0415 - few runs need it

        for notice in overruled(overrides):
            print(notice, file=sys.stderr)  # noqa: T201
    shared = current().shared
    if run_dir is not None and plan.share:
        shared.open()
    else:
        shared.close()
    if works and folder.takes_one_gpu(plan):
        gpu.take_one(current())
    launcher: Launcher = plan.launch.create()
    return launcher.launch(plan)


def is_mistake(error: Exception) -> bool:
    """Whether the user can mend it: Hydra's errors, ours, and what Hydra lets through while it reads a config."""
    if isinstance(error, HydraException | CompactHydraException | OmegaConfBaseException):
        return True
    running = any(
        frame.f_code in {run.__code__, run_command.__code__} for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return not running and (isinstance(error, ValueError | AssertionError) or hasattr(error, "problem_mark"))


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run a command by name.

    Raises:
        FrameworkError: there is none of that name.
    """
    known = current().plugins.commands()
    if name not in known:
        raise FrameworkError(unknown("command", name, known))
    component = known[name]
    if {"-h", "--help"} & set(arguments):
        print(inspect.cleandoc(component.schema.__doc__ or ""))  # noqa: T201
        return 0
    gc.enable()
    code: int = component.load()(component.schema()).main(arguments)
    return code
