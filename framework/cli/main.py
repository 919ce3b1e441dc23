"""The command line: `python -m framework [COMMAND | OVERRIDES…]`.

A first word that is neither an override nor an option is a command; everything else goes to Hydra. Exit codes: 0 done,
1 a failure of the program, 2 a mistake that the user can fix, 3 a verdict that `verdict.fail_on` names, 128 and its
number for a signal that ended it (see `run/interruption.py`), 141 a closed pipe.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from framework.api.records import Progress, Report
from framework.api.run_folder import RunFolder, is_resumed
from framework.api.schema import CommandConfig
from framework.api.text.results import visible
from framework.cli.arguments import (
    advice_for,
    chooses_preset,
    complete_overrides,
    is_command,
    load_plugins,
    readable,
    take_config_dir,
    translated,
)
from framework.cli.completion import OPTIONS, complete_shell
from framework.config.compose import CONFIG_NAME, conf_dir, register, user_folders
from framework.config.sources import REFUSALS, overruled
from framework.config.unused import unused
from framework.hooks.local_file import export_plugin_paths, load_file
from framework.hooks.manager import Plugins
from framework.hooks.session import Session, current
from framework.plan.diagnose import diagnose, overrides_of
from framework.plan.load import load_hydra
from framework.plan.make import make_plan
from framework.run.launching import launched
from framework.rundir.folder import save_overrides, saved_overrides
from framework.rundir.status import note_failure
from framework.sweep import folder, gpu, locks
from framework.sweep.check import check_sweep
from framework.util.cache import of_the_cache
from framework.util.command import this_program
from framework.util.errors import (
    USER_MISTAKE,
    DoesNotFitError,
    FrameworkError,
    Interrupted,
    PrunedError,
    error_traceback,
    of_the_system,
    summarize_error,
    unknown,
)
from framework.util.files import write_failure
from framework.util.versions import VERSION

SWEEP = {"-m", "--multirun", "hydra.mode=MULTIRUN"}
"""Arguments that make a sweep."""
FAILED, BAD_VERDICT, INTERRUPTED, BROKEN_PIPE = 1, 3, 130, 141
LONGEST_LINE = 4_000
"""Characters of a line of an error: a value that it quotes may be long, and the fix comes last."""


class RunFailedError(RuntimeError):
    """A failure of the program in a run, under a type that Hydra does not raise for a config that it refuses."""


def main() -> None:
    """Run a command or a training; on a failure, exit."""
    # Hydra would print errors itself and exit with 1; with this it hands them on.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if not os.environ.get("COLUMNS", "1").strip("0"):  # as shells do; in a terminal without columns rich prints nothing
        del os.environ["COLUMNS"]
    for name in ("stdin", "stdout", "stderr"):  # None if whoever started this process has closed it: `>&-`
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    if child := getattr(signal, "SIGCHLD", None):  # if ignored, as after `trap '' CHLD`, exit codes would be lost
        signal.signal(child, signal.SIG_DFL)
    with current() as session:  # its end prints the table of a sweep, whatever ended that
        try:
            check_working_folder()
            words = take_config_dir(session, readable(sys.argv[1:]))
            if words == ["--version"]:
                print(VERSION)
                sys.exit()
            if words and words[0] in OPTIONS:
                complete_shell(session, words[1:])
                sys.exit()
            if words and is_command(words[0]):
                load_plugins(session, words)
                with ExitStack() as stack:
                    # A command has no loggers; of a run they show its counts.
                    session.progress.send = _progress_display(stack)
                    code = run_command(words[0], words[1:])
                sys.stdout.flush()  # what a closed pipe does not take is to be known here, not at exit
                sys.exit(code)
            if text := translated(words):
                print(text)
                sys.exit()
            words = complete_overrides(words)
            # Hydra prints the help, from conf/config.yaml, where `${commands:}` is.
            OmegaConf.register_new_resolver("commands", _listed_commands, replace=True)
            start(session, words)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough; nothing more can be written, at exit neither
            # The interpreter flushes stdout once more at its end, and would print a traceback there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(BROKEN_PIPE)
        except SystemExit as end:
            # rich ends the process by itself if nobody reads, and has put the null device in place.
            sys.exit(BROKEN_PIPE if isinstance(end.__context__, BrokenPipeError) else end.code)
        except FrameworkError as error:
            _show(error)
            sys.exit(USER_MISTAKE)
        except KeyboardInterrupt as error:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more must not raise in the finalizers of libraries
            sys.exit(error.code if isinstance(error, Interrupted) else INTERRUPTED)
        except BaseException as error:  # noqa: BLE001 - a failure of the program: what Python would print, without secrets
            if limit := _limit(error):
                _show(limit)
                sys.exit(USER_MISTAKE)
            print(error_traceback(error), end="", file=sys.stderr)
            sys.exit(FAILED)
        finally:
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)


def _flush(stream: TextIO) -> None:
    """Flush a stream and drop output that cannot be written, as on a full disk: Python would exit with its own code."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _limit(error: BaseException) -> FrameworkError | None:
    """Return a refusal of the system as an error that the user can read; None for a failure of the program."""
    if isinstance(error, OSError) and not error.filename and (reason := write_failure(error)):
        return FrameworkError(f"the output cannot be written: {reason}")
    if isinstance(error, BrokenExecutor):  # of a sweep whose trials run in processes of a launcher
        return FrameworkError(
            f"a worker of the sweep was killed, most likely for lack of memory: `{this_program()} resume` lists the "
            "sweep, and finished trials are kept. Fewer workers take less: hydra.launcher.n_jobs=1"
        )
    return of_the_cache(error) or of_the_system(error)


def check_working_folder() -> None:
    """Refuse a working folder that was removed, or that this user may not read: paths are relative to it.

    Raises:
        FrameworkError: it is one of these.
    """
    cwd: Path | None = None
    try:
        cwd = Path.cwd()
    except FileNotFoundError as error:
        raise FrameworkError(
            "the working folder no longer exists: change to another folder, and start again"
        ) from error
    except PermissionError:
        pass  # as below
    if cwd is None or not os.access(cwd, os.R_OK | os.X_OK):
        raise FrameworkError(
            f"the working folder{f' {cwd}' if cwd else ''} cannot be read by this user: change to another folder"
        )


def _progress_display(stack: ExitStack) -> Callable[[Progress], None]:
    """Return a function that displays the progress of a command until the stack is closed; a run has loggers for it."""

    def show(progress: Progress) -> None:
        from framework.api.text.bars import Counts  # noqa: PLC0415 - rich's bars, which most commands do without

        if not counts:
            counts.append(stack.enter_context(Counts()))
        counts[0].show(progress)

    counts: list[Any] = []
    return show


def start(session: Session, words: Sequence[str]) -> None:
    """Run what a completed command line says: a run, or the trials of a sweep.

    Raises:
        FrameworkError: the arguments are wrong, or a trial of a sweep failed.
    """
    # Hydra reads its overrides there and nowhere else.
    sys.argv[1:] = words
    register(session)
    session.unused = unused(session, overrides_of(words))
    # Before Hydra makes the folder of the sweep and of its first trial.
    if SWEEP & set(words):
        export_plugin_paths(session.plugins)
        check_sweep(words)
    elif user_folders(session) or any("hydra" in word for word in words):  # nothing else sets anything of Hydra
        load_hydra(words, RunMode.RUN)
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(run)()
    except REFUSALS as error:  # of composing: what `run` raises has other types
        raise diagnose(error, words) from error


def run(config: DictConfig) -> float | None:
    """Run one composed config; the task function of Hydra. Returns the objective."""
    job = HydraConfig.get()
    # Unresolved: an interpolation in a word is to be saved as it was typed.
    overrides = tuple(OmegaConf.to_container(job.overrides.task, resolve=False))
    if job.mode is not RunMode.MULTIRUN:
        return _run(config, None, overrides, "")
    run_dir = Path(job.runtime.output_dir)
    with locks.trial(run_dir):
        # With the same words only: a search may give this number to other values now.
        if is_resumed(job) and RunFolder(run_dir).is_complete and saved_overrides(str(run_dir)) == [*overrides]:
            return RunFolder(run_dir).objective
        folder.start_anew(run_dir)
        # Hydra has made the folder; the table of the sweep shows the settings of a failed trial too.
        save_overrides(run_dir, overrides)
        return _run(config, run_dir, overrides, folder.name_of(Path(job.sweep.dir)))


def _run(config: DictConfig, run_dir: Path | None, overrides: tuple[str, ...], sweep: str) -> float | None:
    """Run a config, and report its errors. `run_dir` is the folder of a trial of `sweep`."""
    try:
        report = _launch(config, run_dir, overrides, sweep)
    except DoesNotFitError as error:
        if run_dir is None:
            _show(error)
            sys.exit(USER_MISTAKE)
        note_failure(run_dir, error)  # the table of the sweep lists it as passed over
        return None
    except PrunedError:  # only a sweep gives a run up, and its table lists the trial
        return None
    except FrameworkError as error:
        if run_dir:  # Hydra notes the failure of this trial and continues with the others
            note_failure(run_dir, error)
            traceback.clear_frames(error.__traceback__)
            raise
        _show(error)
        sys.exit(USER_MISTAKE)
    except Exception as error:
        if limit := _limit(error):
            if run_dir is None:
                _show(limit)
                sys.exit(USER_MISTAKE)
            note_failure(run_dir, limit)
            raise limit from error
        # Hydra keeps the error of a trial until the sweep ends, and its frames would keep the trial's model alive.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, REFUSALS):
            raise RunFailedError(summarize_error(error)) from error
        raise
    if report and run_dir is None and config.verdict.fail_on:
        from framework.evaluate.verdict import named_by  # noqa: PLC0415 - statistics, which most calls do without

        outcomes, absent = named_by(report, config.verdict.fail_on)
        if outcomes:
            _show(FrameworkError(f"verdict.fail_on=[{','.join(outcomes)}]: {report.headline}"))
        if absent:
            _show(FrameworkError(f"verdict.fail_on=[{','.join(absent)}]: not measured, so the verdict cannot say it"))
        if outcomes or absent:
            sys.exit(BAD_VERDICT)
    return report.objective.value if report else None


def _show(error: FrameworkError) -> None:
    """Print a mistake: without secrets, and without letters of data or of a judge that a terminal would obey."""
    half = LONGEST_LINE // 2
    with suppress(OSError):  # the exit code says it too
        for line in visible(str(error), "\n").split("\n"):
            print(line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}", file=sys.stderr)


def _launch(config: DictConfig, run_dir: Path | None, overrides: tuple[str, ...], sweep: str) -> Report | None:
    """Plan a run, and have its launcher run it."""
    session = current()  # Hydra calls this, in the worker of a launcher too
    is_worker = run_dir is not None and session.sweep_dir is None
    for path in config.plugins if is_worker else ():  # the worker of a launcher has not read them
        load_file(session.plugins, path)
    plan = make_plan(config, run_dir=run_dir, overrides=overrides, sweep=sweep)
    if run_dir is not None:
        plan = dataclasses.replace(plan, trial=folder.describe_trial(run_dir, overrides))
    if plan.launch.config.writes() and chooses_preset(session, overrides):
        for notice in overruled(overrides):
            print(notice, file=sys.stderr)
    # Without a sweep nothing follows that could use a kept base.
    if run_dir is not None and plan.settings.share:
        session.shared.open()
    else:
        session.shared.close()
    if is_worker and folder.takes_one_gpu(plan.training, plan.launch.config):
        gpu.claim_gpu(session)
    return launched(plan, is_locked=run_dir is not None)


def _listed_commands() -> str:
    # Launchers pickle the resolvers for their workers, so that of the help holds no session.
    return list_commands(current().plugins)


def list_commands(plugins: Plugins) -> str:
    """Return a line for each command, for the help of the program."""
    commands = plugins.commands()
    schemas: dict[str, type[CommandConfig]] = {name: component.schema for name, component in commands.items()}
    typed = {name: f"{name} {schema.usage}" for name, schema in schemas.items()}
    width = max(map(len, typed.values())) + 2
    lines = [f"  {typed[name]:{width}}{component.summary.rstrip('.')}" for name, component in commands.items()]
    return "\n".join(lines).replace("$", "$$")  # Hydra fills the text in by string.Template


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run a command by name.

    Raises:
        FrameworkError: there is no command of that name.
    """
    commands = current().plugins.commands()
    if name not in commands:
        raise FrameworkError(advice_for(name) or unknown("command", name, commands))
    component = commands[name]
    code: int = component.load()(component.schema()).main(arguments)
    return code
