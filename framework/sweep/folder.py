"""A multirun: its folder, its completed trials, and at the end one table of them and `sweep.json`."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from framework.api import records
from framework.api.records import Measure, Outcome, Sweep, Trial
from framework.api.run_folder import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    OVERRIDES,
    REPORT,
    RUNNING,
    STATUS,
    RunFolder,
    part,
    read_plain,
)
from framework.api.schema import LaunchConfig, TrainerConfig
from framework.api.text.results import facts_of, visible
from framework.api.text.sweeps import figures, settings_text
from framework.evaluate.verdict.compare import holm
from framework.hooks.session import Session, current
from framework.rundir.folder import saved_overrides
from framework.rundir.read import runs_below
from framework.sweep import compared, gpu, locks
from framework.util.command import this_program
from framework.util.errors import USER_MISTAKE, FrameworkError, display_path, of_the_system
from framework.util.redact import fill_in, hide, redact

SWEEP, FORECAST = "sweep.json", "forecast.json"
MULTIRUN = "multirun.yaml"
"""What Hydra writes there: the words as they were typed, with what is secret in them."""


class SweepFolder(Callback):
    """Fixes the folder of a multirun, and notes it: Hydra calls nothing at the end if a trial failed.

    Args:
        resume: completed trials are kept.
    """

    def __init__(self, *, resume: bool = False) -> None:
        self.resume = resume

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder; without the word that is added, each value of a `name` that is swept would give its own."""
        with read_write(config):
            config.name = redact(config.name)  # the folder is named by it
        folder = str(config.hydra.sweep.dir)
        session = current()
        try:
            session.on_exit.enter_context(locks.sweep(Path(folder).absolute()))
        except (FrameworkError, OSError) as error:  # as one, Hydra would warn of it and continue
            print(of_the_system(error) or error, file=sys.stderr)
            sys.exit(USER_MISTAKE)
        _protect(Path(folder, MULTIRUN), session)
        with read_write(config), open_dict(config):
            # Trials compose their own config with these; `hydra.sweep.dir` may hold a name that is swept over.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={QuotedString(folder, Quote.single).with_quotes()}")
        session.sweep_dir = Path(folder)
        # Not in `on_multirun_end`, which Hydra skips if a trial failed.
        session.on_exit.callback(finish, session, Path(folder), {} if self.resume else times(Path(folder)))
        _one_for_each_gpu(config)

    def on_job_end(self, job_return: JobReturn, **_: Any) -> None:
        """Take the secrets out of the overrides, which Hydra prints if the job failed."""
        job_return.overrides = [hide(word) for word in job_return.overrides or ()]


def _protect(file: Path, session: Session) -> None:
    """Make a file that Hydra will write, for the owner only; it is removed at the end if nothing was written."""
    file.touch(0o600)
    # `touch` leaves the mode of a file that is there already.
    file.chmod(0o600)

    def remove_if_empty() -> None:
        if file.exists() and not file.stat().st_size:
            file.unlink()

    session.on_exit.callback(remove_if_empty)


def _one_for_each_gpu(config: DictConfig) -> None:
    """Let a launcher that runs several trials at once run no more of them than there are GPUs."""
    at_once = OmegaConf.select(config, "hydra.launcher.n_jobs")
    gpus = len(gpu.visible()) if isinstance(at_once, int) and OmegaConf.to_object(config.trainer).may_use_gpu() else 0
    # joblib's -1 stands for all cores.
    if gpus and not 0 < at_once <= gpus:
        config.hydra.launcher.n_jobs = gpus
        print(f"hydra.launcher.n_jobs={gpus}: one trial for each GPU", file=sys.stderr)


def takes_one_gpu(trainer: TrainerConfig, launch: LaunchConfig) -> bool:
    """Whether a run may take a GPU, and no more than one."""
    return trainer.may_use_gpu() and launch.group() is None


def start_anew(run: Path) -> None:
    """Remove an earlier multirun's results of a trial: refused now, it has none."""
    for name in (STATUS, REPORT):
        (run / name).unlink(missing_ok=True)


def name_of(folder: Path) -> str:
    """Return the name of the multirun into a folder, `quickstart-sweep_2026-11-25_20-30-00`; its trials share it."""
    return "-".join(part for part in folder.parts[-2:] if part != folder.anchor)


def folders(root: Path) -> dict[Path, list[Path]]:
    """Return the runs and sweeps in a folder and below it, by name, each with the folders of its runs."""
    homes: dict[Path, list[Path]] = {}
    for run in runs_below(root):
        # Hydra writes that file before the first trial, so it tells a sweep from a folder of runs.
        home = run.parent if (run.parent / MULTIRUN).exists() else run
        homes.setdefault(home, []).append(run)
    return homes


def describe_trial(run: Path, overrides: Sequence[str]) -> str:
    """Return which trial a run is and what it varies, without secrets: `1 (2 of 4): trainer.learning_rate=1e-4`."""
    config = OmegaConf.load(run.parent / MULTIRUN)
    # Hydra writes a value in its own way, `true` as `True`, so keys are compared.
    fixed = {override.get_key_element() for override in _parsed(config) if not override.is_sweep_override()}
    settings = [hide(word) for word in overrides if word.partition("=")[0] not in fixed]
    total = _trials_of(config)
    position = f" ({int(run.name) + 1} of {total})" if run.name.isdigit() else ""
    return f"{run.name}{position}: {', '.join(settings)}" if settings else f"{run.name}{position}"


def planned_trials(folder: Path) -> int | None:
    """Return how many trials a multirun was started with; None if its sweeper decides."""
    return _trials_of(OmegaConf.load(folder / MULTIRUN))


def _parsed(config: Any, *words: str) -> list[Override]:
    """Return these words and then the overrides of a multirun, as Hydra reads them."""
    task = OmegaConf.select(config, "hydra.overrides.task") or ()
    overrides: list[Override] = OverridesParser.create().parse_overrides([*words, *map(str, task)])
    return overrides


def _trials_of(config: Any) -> int | None:
    n_trials = OmegaConf.select(config, "hydra.sweeper.n_trials")
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    words = (f"{key}={value}" for key, value in params.items())
    parsed = {override.key_or_group: override for override in _parsed(config, *words)}
    swept = [override for override in parsed.values() if override.is_sweep_override()]
    sizes = [_values(override) for override in swept]
    total = math.prod(size or 0 for size in sizes) if sizes and None not in sizes else None
    # Of samplers, only a grid tries every combination once.
    if n_trials is None or str(OmegaConf.select(config, "hydra.sweeper.sampler")).endswith("grid"):
        return total
    return int(n_trials) if total is None else min(total, int(n_trials))


def _values(override: Override) -> int | None:
    """Return how many values are swept over; None if they are infinitely many."""
    if override.is_discrete_sweep():
        return len([*override.sweep_string_iterator()])
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep) or not isinstance(sweep.start, int) or not isinstance(sweep.end, int):
        return None
    return sweep.end - sweep.start + 1


def finish(session: Session, folder: Path, before: Mapping[str, int] | None = None) -> None:
    """Print the trials below `folder`, write `sweep.json`, and tell the plugins; nothing if there are none."""
    sweep = read_sweep(folder, before) if folder.is_dir() else None
    if sweep is None or not sweep.trials:
        return
    show(sweep)
    records.save(sweep, folder / SWEEP)
    session.plugins.notify("framework_sweep_finished", folder=folder, sweep=sweep)
    show_next(folder, sweep)


def show(sweep: Sweep) -> None:
    """Print the trials of a sweep and the best of them."""
    from rich.console import Console  # noqa: PLC0415 - only a multirun needs it
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(title=f"sweep in {sweep.folder}", title_justify="left")
    for heading in ("trial", "settings", sweep.objective or "objective", "time", "memory", "score"):
        table.add_column(heading, overflow="fold")
    for trial, settings in zip(sweep.trials, settings_text(sweep.trials), strict=True):
        style = "bold" if trial.number == sweep.best else ""
        table.add_row(str(trial.number), settings, *figures(trial), style=style)
    console = Console(markup=False, emoji=False, highlight=False)  # a setting may be [exact_match]
    console.print(table)
    for trial in sweep.trials:
        if trial.reason:
            reason = visible(trial.reason, "; ")
            # What a signal ended says so itself.
            ended = reason if trial.state == INTERRUPTED else f"{trial.state}: {reason}"
            console.print(f"trial {trial.number} {ended}", soft_wrap=True)
    for fact in facts_of(sweep):
        console.print(f"{fact.name}: {fact.text}", soft_wrap=True)
        for line in fact.more:
            console.print(f"  {line}", soft_wrap=True)


def show_next(folder: Path, sweep: Sweep) -> None:
    """Print the commands that continue an interrupted sweep, or from its best trial; nothing if there is none."""
    lines = []
    if any(trial.state == INTERRUPTED for trial in sweep.trials):
        lines.append(f"the other trials: {this_program()} resume {shlex.quote(display_path(folder))}")
    if sweep.best is not None:
        best = folder / str(sweep.best)
        words = [fill_in(word) for word in saved_overrides(str(best))]
        lines.append(f"the best values: {this_program()} {shlex.join(words)}")
        if (best / RunFolder.CHECKPOINT).is_dir():
            lines.append(f"talk to the best: {this_program()} chat {shlex.quote(display_path(best))}")
    if lines:
        print("next", *(redact(f"  {line}") for line in lines), sep="\n")


def times(folder: Path) -> dict[str, int]:
    """Return for each trial below a folder when its words were written: that is done first when a trial starts."""
    files = folder.glob(f"*/{OVERRIDES}")
    return {file.parent.name: file.stat().st_mtime_ns for file in files if file.parent.name.isdigit()}


def read_sweep(folder: Path, before: Mapping[str, int] | None = None) -> Sweep:
    """Return the trials of a multirun in their order, without those that are in `before` with the same time.

    Secrets are taken out of all texts: they are printed, saved and handed to plugins.
    """
    # A folder may hold trials of an earlier multirun; one that was run again has a new time.
    earlier_trials = (before or {}).items() & times(folder).items()
    names = {path.name for path in folder.iterdir() if path.name.isdigit()} - {name for name, _ in earlier_trials}
    runs = [folder / name for name in sorted(names, key=int)]
    words = [read_plain(run / OVERRIDES) or [] for run in runs]
    # What all trials were given does not tell one from another.
    shared = set.intersection(*map(set, words)) if len(words) > 1 else set()
    differing = [[hide(word) for word in run_words if word not in shared] for run_words in words]
    trials = [_trial(run, overrides) for run, overrides in zip(runs, differing, strict=True)]
    reports = [report for run in runs if (report := read_plain(run / REPORT))]
    objectives = [report["objective"] for report in reports if report.get("objective")]
    kinds = {objective["name"] for objective in objectives}
    name = kinds.pop() if len(kinds) == 1 else None  # values of several objectives do not compare
    higher = bool(name and objectives[0]["higher_is_better"])
    best = best_trial(trials, higher_is_better=higher) if name else None
    judged_apart = (
        all((report.get("data") or {}).get("judged_apart", True) for report in reports) or name == "train_loss"
    )
    judged_apart = judged_apart and (best is None or compared.chosen_apart(folder, best, str(name)))
    sweep = Sweep(redact(str(folder)), redact(name), higher, None, trials, judged_apart)
    if best is None:
        return sweep
    confidence = next((value for report in reports if (value := part(report, float, "verdict", "confidence"))), 0.95)
    tested = [trial for trial in trials if trial.p_value is not None]
    adjusted = holm([trial.p_value or 0.0 for trial in tested])
    still = sum(bool(trial.better) and p <= 1 - confidence for trial, p in zip(tested, adjusted, strict=True))
    ranking = compared.ranking(folder, trials, str(name))
    best_id, why = best.number, ""
    if ranking is not None:
        best_id, why = compared.choice(ranking, {trial.number: trial for trial in trials})
        measures = [
            primary for report in reports if judged_apart and (primary := part(report, str, "verdict", "primary"))
        ]
        settled = compared.confirmed(folder, ranking, best_id, measures[0], trials) if measures else None
        ranking = replace(ranking, confirmed=settled)
    return replace(sweep, best=best_id, why=why, ranking=ranking, still_better=still, confidence=confidence)


def _trial(run: Path, overrides: list[str]) -> Trial:
    report, status = read_plain(run / REPORT) or {}, RunFolder(run).status()
    state, reason = _outcome(run, status)
    seconds = report.get("seconds") or status.get("seconds") or {}
    verdict = report.get("verdict") or {}
    gained = part(report, str, "verdict", "gained")
    forecast = read_plain(run / FORECAST)
    return Trial(
        number=int(run.name),
        overrides=overrides,
        state=state,
        reason=redact(reason),
        value=RunFolder(run).objective,
        seconds=round(sum(seconds.values()), 3) if seconds else None,
        training_seconds=seconds.get("train"),
        peak_memory_bytes=report.get("peak_memory_bytes"),
        score=verdict.get("score"),
        verdict=redact(verdict.get("summary") or next(iter(verdict.get("lines") or []), "")),
        steps=part(report, int, "train", "steps"),
        parameters=part(report, int, "train", "trainable_parameters"),
        planned_memory=part(forecast, int, "memory", "reserved"),
        eval_loss=part(report, int | float, "metrics", Measure.EVAL_LOSS, "after"),
        better=gained == Outcome.better.name if gained else None,
        p_value=part(report, int | float, "metrics", str(verdict.get("primary")), "p_value"),
    )


def _outcome(run: Path, status: Mapping[str, Any]) -> tuple[str, str]:
    """Tell how a trial ended, and why if it did not finish and that is known.

    A trial whose config was refused has neither a status nor a plan. One that still is `running` when the sweep is over
    has been killed.
    """
    if not status:
        # With the plugin `journal` switched off, no run has a status.
        return FINISHED if any((run / name).exists() for name in ("plan.json", REPORT)) else FAILED, ""
    if status["state"] != RUNNING:
        return status["state"], status["error"] or ""
    return FAILED, f"it was killed after the stage {status['stage'] or 'plan'}"


def best_trial(trials: list[Trial], *, higher_is_better: bool) -> Trial | None:
    """Return the trial with the best objective, None if none has one; a trial that diverged is none."""
    scored = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    sign = -1 if higher_is_better else 1
    return min(scored, key=lambda trial: sign * (trial.value or 0.0), default=None)
