"""`logger=console`: what a person sees of a run. In a pipe or a log file the bar becomes a line now and then."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from framework import Plan, Selection, Stage
from framework.api import (
    Artifact,
    Aspect,
    Change,
    DataResult,
    EvalResult,
    Event,
    ExportResult,
    Forecast,
    ForecastUpdated,
    IssueFound,
    Logger,
    MeasureKind,
    Outcome,
    Progress,
    ProgressMade,
    Report,
    RunFinished,
    RunPlanned,
    RunStarted,
    Sample,
    Severity,
    StageFinished,
    StageStarted,
    Step,
    TrainingStep,
    Verdict,
    as_text,
    count,
    display_run,
    fields,
    number,
    redact,
    visible,
)
from framework.api.program import Lines, facts_of
from framework_plugins.lib.sentences import readiness
from framework_plugins.trackers.config import ConsoleConfig
from framework_plugins.trackers.console_next import DATA_STAGES, RATES, next_steps
from framework_plugins.trackers.console_training import training_rows
from framework_plugins.trackers.console_trial import outcome_line, start_line

if TYPE_CHECKING:
    from framework.api.program import Bars

COLOURS = {"good": "green", "lost": "red", "flagged": "yellow", "neutral": ""}
STEP_LINES = 10
"""How many lines of steps a run prints if there is no terminal to draw a bar in; more where steps are slow."""
MAX_SILENCE_SECONDS = 60.0
"""Seconds after which a step is shown in any case; a trial of a sweep shows nothing else."""
FIRST_TRIAL = "0"
"""The folder of a sweep's first trial, which shows what all of them have in common."""
STAGE_TEXTS = {
    Stage.data: "reading and tokenizing the data",
    Stage.baseline: "asking the base model",
    Stage.train: "training",
    Stage.evaluate: "asking the tuned model",
    Stage.export: "exporting",
}
MOST_METRICS = 8
"""Metrics of a loss that a line shows in full."""
DETAILS = {"made up of", "learning rate", "exports", "format", "lengths", "limit"}
"""Facts that a run shows with `details`, or if something is wrong with them; a plan shows them in any case."""
USUAL = {"gradient checkpointing", "optimizer", "attention"}
"""The same of the facts about the machine."""
MOST_TASKS = 12
"""Measures of lm-eval's tasks that are in the table without `details`; of more, a group has one for each part."""
ANSWER_LINES = 4
"""Lines of an answer without `details`."""


class Output(Terminal):
    """A terminal, or a pipe. If its reader ends first, as `| head` does, the run continues and prints nothing more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Libraries that print to the same descriptor would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console(Logger):
    """The terminal."""

    def __init__(self, config: ConsoleConfig) -> None:
        self.config = config
        self.out: Terminal = Output(highlight=False)
        self.plan: Plan | None = None
        self.bars: Bars | None = None
        self.stage: Stage | None = None
        self.made: Sequence[Artifact] = ()
        self.lines = Lines()
        self.forecast_shown = False
        self.expected: Forecast | None = None
        self.decides = ""
        self.noted: set[str] = set()

    @property
    def brief(self) -> bool:
        """Whether only the main lines are printed: a run fills one screen, and its page has the rest."""
        return not self.config.details and self.plan is not None and not set(self.plan.stages) <= DATA_STAGES

    def log(self, event: Event) -> None:
        if self.plan is not None and self.plan.sweep:
            self._log_trial(event)
        else:
            self._log_run(event)

    def _log_trial(self, event: Event) -> None:
        """Show a trial in two lines, with its problems: four of them fit a screen."""
        match event:
            case StageStarted(stage):
                self._begin_stage(stage)
            case TrainingStep(step):
                self._show_step(step, lines=False)
            case ProgressMade(_, progress):
                self._show_progress(progress, lines=False)
            case IssueFound():
                self._log_run(event)
            case RunStarted(plan, data):
                serious = [finding for finding in data.findings if finding.severity is Severity.serious]
                for finding in serious if plan.run_dir.name == FIRST_TRIAL else ():
                    line = f"  {finding.name}: {visible(finding.text, '⏎')}"
                    self.out.print(shown(Text(line, style="bold red")), soft_wrap=True)
            case RunFinished(Report() as report):
                self._stop_bars()
                self.out.print(shown(f"  {outcome_line(report)}"), soft_wrap=True)

    def _log_run(self, event: Event) -> None:
        match event:
            case RunPlanned(plan):
                self.plan = plan
                if plan.sweep:
                    self.lines.said = time.monotonic()  # its lines are as rare whatever it does
                    if plan.run_dir.name == FIRST_TRIAL:
                        self._show_plan(plan)
                    self.out.print(shown(Text(start_line(plan), "bold")), soft_wrap=True)
                else:
                    self._show_plan(plan)
            case ForecastUpdated(forecast):
                self._show_forecast(forecast)
            case RunStarted(plan, data, hardware):
                self._show_data(plan, data, hardware)
            case StageStarted(stage):
                self._begin_stage(stage)
                self.lines.said = time.monotonic()
                if stage in STAGE_TEXTS:
                    self.out.print(f"[dim]{STAGE_TEXTS[stage]} …[/]")
            case TrainingStep(step):
                self._show_step(step)
            case ProgressMade(_, progress):
                self._show_progress(progress)
            case IssueFound(issue, repeated=False):  # above the bar if there is one
                self.out.print(shown(Text(f"  {issue.line}", style="yellow")), soft_wrap=True)
            case StageFinished(stage, EvalResult() as result):
                self._stop_bars()
                self._show_evaluation("before" if stage is Stage.baseline else "after", result)
            case StageFinished(Stage.export, ExportResult() as exported):
                self._stop_bars()
                self.made = exported.artifacts
            case StageFinished(Stage.plan) if self.plan is not None and self.plan.stages == (Stage.plan,):
                self._show_next()
            case RunFinished(Report() as report, samples):
                self._show_report(report, samples)
            case RunFinished(None) if self.plan is not None:
                self._show_files(self.plan)

    def _show_plan(self, plan: Plan) -> None:
        """Show the plan of the run."""
        training = plan.training
        length = count(training.max_steps, "step") if training.max_steps else count(training.num_train_epochs, "epoch")
        batch = f"{training.per_device_train_batch_size} x {training.gradient_accumulation_steps} rows a step"
        if group := plan.launch.config.group():
            batch = f"{batch.removesuffix(' rows a step')} x {group.processes} processes = {plan.batch} rows a step"
        rate = f"learning rate {training.learning_rate:g} {plan.schedule.component.name}"
        brought = plan.method.config.training_defaults(plan.adapter.config)
        if defaults := [name for name, value in brought.items() if getattr(training, name) == value]:
            rate += f" ({' and '.join(defaults)} of method={plan.method.component.name})"
        ratio = training.warmup_ratio
        warmup = f"{ratio:.3g} of the steps" if ratio is not None else plan.warmup(0)
        stored = _set_options(plan.quantization)
        assumed = f"The plan assumes rows of {training.max_seq_length:,} tokens"
        rows = {
            "model": plan.model_line,
            **({"quantization": stored} if stored != "none" or not self.brief else {}),
            "adapter": _set_options(plan.adapter),
            "data": f"{_changed_options(plan.data)}, format {_changed_options(plan.format)}",
            **({"rows": f"{plan.data_line} {assumed}"} if plan.data_line else {}),
            "training": f"{plan.trainer.component.name}: {length}, {batch}, {rate}, warm-up {warmup}",
            **({"method": plan.method_line} if plan.method_line else {}),
            **_rewards(plan),
            "metrics": ", ".join(["eval_loss", *plan.metric]),
            **({"decides": plan.decides_line} if plan.decides_line else {}),
            "stages": " → ".join(stage.value for stage in plan.stages),
        }
        if plan.stages != (Stage.plan,) or plan.config["run_dir"] is not None:  # a plan leaves a folder if one is named
            rows["folder"] = display_run(plan.run_dir)
        self._print_facts(plan.name, rows)

    def _show_forecast(self, forecast: Forecast) -> None:
        """Show the needs of the run once, after the data stage if there is one."""
        self.expected = forecast
        rows_known = forecast.memory is None or forecast.memory.rows_known
        only_plan = self.plan is not None and self.plan.stages == (Stage.plan,)
        if self.forecast_shown or not (rows_known or only_plan):
            return
        self.forecast_shown = True
        facts = [fact for fact in facts_of(forecast) if fact.amiss or not (self.brief and fact.name in DETAILS)]
        rows = {fact.name: Text(fact.text, "yellow" if fact.amiss else "") for fact in facts}
        self._print_facts("needs", rows, {fact.name: fact.more for fact in facts})

    def _print_facts(
        self, title: str, rows: Mapping[str, str | Text], details: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Print names and values in two columns; `details` has lines that go below a value."""
        heading = Text(title, "bold") if title else None  # as it is: a name may look like rich's own marks
        table = Table(box=None, show_header=False, pad_edge=False, title=heading, title_justify="left")
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            below = (details or {}).get(name)
            table.add_row(name, Group(shown(value), _bullet_list(below)) if below else shown(value))
        self.out.print(table)
        self.out.print()

    def _show_data(self, plan: Plan, data: DataResult, hardware: Mapping[str, str]) -> None:
        """Show the data and the settings picked for this machine; with `stages=[data]` rows too."""
        from framework_plugins.trackers import console_data  # noqa: PLC0415 - a plan alone has nothing of it to show

        self.decides = data.decides
        if self.brief:
            usual = {*USUAL, *(["packing"] if hardware.get("packing") == "tree" else [])}
            machine = {name: fact for name, fact in hardware.items() if name not in usual}
            rows: dict[str, str | Text] = {**console_data.facts(data, without=DETAILS), **machine}
            if notes := console_data.note_names(data.findings):
                rows["audit"] = notes
            self._print_facts("data", rows)
            worse = [finding for finding in data.findings if finding.severity is not Severity.note]
            console_data.show_findings(self.out, worse, () if notes else plan.audit)
            return
        self._print_facts("data", console_data.facts(data))
        console_data.show_findings(self.out, data.findings, plan.audit)
        if set(plan.stages) <= DATA_STAGES:
            console_data.show_rows(self.out, data.view)
            self._print_facts("", {"report": display_run(_first_file(plan.run_dir, plan, "data.json"))})
            self.out.print(Text(readiness(data), "bold"))
            return
        self._print_facts("machine", hardware)

    def _begin_stage(self, stage: Stage) -> None:
        self._stop_bars()
        self.stage = stage

    def _show_step(self, step: Step, *, lines: bool = True) -> None:
        """Move the bar, or print a line."""
        if not Lines.are_replaced(self.out):
            if step.repeated:  # its line was printed by the process that made it
                return
            every = max(1, step.total_steps // STEP_LINES)
            checked = step.eval_loss is not None or step.metrics
            due = step.step == 1 or step.step % every == 0 or step.step == step.total_steps or checked
            if (lines and due) or time.monotonic() - self.lines.said >= MAX_SILENCE_SECONDS:
                self.lines.said = time.monotonic()
                left = Progress.clock(_seconds_left(step))
                self.out.print(f"  step {step.step}/{step.total_steps}  {_numbers(step)}  {left} left")
            return
        self._stage_bars().move(step.step, step.total_steps, _numbers(step), _seconds_left(step))

    def _show_progress(self, progress: Progress, *, lines: bool = True) -> None:
        """Move the bar, or print a line now and then."""
        if Lines.are_replaced(self.out):
            self._stage_bars().count(progress)
        elif lines and progress.total is None and not progress.unit:  # nothing more is sent until it is over
            self.out.print(shown(Text(f"  {progress.line} …", style="dim")), soft_wrap=True)
        elif self.lines.is_due(progress) if lines else self.lines.is_due(progress, MAX_SILENCE_SECONDS):
            self.out.print(shown(f"  {progress.timed_line}"), soft_wrap=True)

    def _stage_bars(self) -> Bars:
        """Return the bars of the stage."""
        if self.bars is None:
            from framework.api.program import Bars  # noqa: PLC0415 - a quarter of the time that rich takes

            in_sweep = self.plan is not None and bool(self.plan.sweep)
            self.bars = Bars(self.out, steps=self.stage is Stage.train and not in_sweep)
        return self.bars

    def _stop_bars(self) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None

    def _show_evaluation(self, when: str, result: EvalResult) -> None:
        """Show the means, and warn once of missing measures."""
        measures = [(name, measure) for name, measure in result.measures.items() if measure.aspect is Aspect.task]
        if self.brief and self.decides in result.measures:  # the table has all of them
            measures = [(name, measure) for name, measure in measures if name in {self.decides, "eval_loss"}]
        means = ", ".join(f"{name} {number(measure.value, name, measure.unit)}" for name, measure in measures)
        if means:
            self.out.print(Text(f"  {when}: {means}"))
        for note in result.notes:
            if note not in self.noted:
                self.out.print(shown(Text(f"  warning: {visible(note, '⏎')}", style="yellow")), soft_wrap=True)
        self.noted.update(result.notes)

    def _show_report(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Show answers side by side, the numbers, the next commands, and last the verdict."""
        self._stop_bars()
        self._show_samples(samples[: self.config.samples])
        title = Text(f"{report.name}: before and after", "bold")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("", "n", "before", "after"):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
        judged = any(change.outcome for change in report.metrics.values())
        if report.verdict and judged:
            for heading in (f"difference, {report.verdict.confidence:.0%}", ""):
                table.add_column(heading)
        # What decides comes first.
        chosen = {name for name in report.metrics if "." in name}  # TASK.METRIC of lm-eval, which the user named
        chosen = set() if len(chosen) > MOST_TASKS and not self.config.details else chosen
        for name, change in sorted(report.metrics.items(), key=lambda item: not item[1].primary):
            if change.aspect is not Aspect.task and name not in chosen:  # the verdict says it, the report has numbers
                continue
            values = (number(value, name, change.unit) for value in (change.before, change.after))
            judgement = (change.difference(name), outcome(change)) if judged else ()
            heading = f"{name} {'↑' if change.higher_is_better else '↓'}"
            table.add_row(heading, f"{change.pairs:,}" if change.pairs else "", *values, *judgement)
        if table.row_count:
            self.out.print(table)
            self.out.print()
        rows = training_rows(report, self.expected, self.plan, details=not self.brief)
        self.made = report.artifacts
        rows |= _artifacts(Path(report.run_dir), report.artifacts, details=not self.brief)
        rows |= {f"{name} failed": visible(error, "; ") for name, error in report.failed_exports.items()}
        rows["report"] = display_run(_first_file(Path(report.run_dir), self.plan, "report.json"))
        self._print_facts("", rows)
        self._show_next()
        if report.verdict:
            self.out.print()
            self._show_verdict(report.verdict, report.headline)

    def _show_files(self, plan: Plan) -> None:
        """Show the files of stages without a report, and the next commands."""
        self._stop_bars()
        rows = _artifacts(plan.run_dir, self.made) if Stage.export in plan.stages else {}
        if Stage.train in plan.stages:
            rows = {"weights": display_run(plan.checkpoint), **rows}
        if rows:
            self._print_facts("", rows)
        self._show_next()

    def _show_samples(self, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        from framework_plugins.trackers import console_samples  # noqa: PLC0415 - shown only at the end

        if samples:
            self.out.print(console_samples.side_by_side(samples, lines=ANSWER_LINES if self.brief else None))
            self.out.print()

    def _show_verdict(self, verdict: Verdict, summary: str) -> None:
        """Print the verdict, its first sentence on top."""
        lines = verdict.more
        if self.brief and lines:  # what qualifies a verdict is not left out without a word
            lines = [f"{count(len(lines), 'note')} on this verdict: logger.console.details=true, or report.html"]
        for line in lines:
            self._print_sentence(Text(f"- {line}", "dim"))
        if summary:
            self._print_sentence(Text(summary, f"bold {COLOURS[verdict.tone.value]}"), indent=0)
        for line, tone in verdict.toned_lines:
            self._print_sentence(Text(line, COLOURS[tone]))

    def _print_sentence(self, text: Text, indent: int = 2) -> None:
        """Print a text by words in a terminal, and in one line in a file."""
        if self.out.is_terminal:
            self.out.print(Padding(shown(text), (0, 0, 0, indent), expand=False))
        else:  # a padded text is cropped at the width of the console, soft wrap or not
            self.out.print(Text(" " * indent).append_text(shown(text)), soft_wrap=True)

    def _show_next(self) -> None:
        """Print the commands to try next, each on one line so that it can be copied."""
        if self.plan is None:
            return
        steps = [step for step in next_steps(self.plan, self.made, self.expected) if not self.brief or step[0] != RATES]
        if steps:
            self.out.print("[bold]next[/]")
        for aim, command in steps:
            self.out.print(shown(f"  {aim}: {command}"), soft_wrap=True)

    def close(self) -> None:
        self._stop_bars()


def shown(value: str | Text) -> Text:
    """Return a text without secrets and without the control characters of a terminal."""
    text = Text(value) if isinstance(value, str) else value
    safe = visible(redact(text.plain), "\n")
    return text if safe == text.plain else Text(safe, text.style)


def _bullet_list(lines: Sequence[str]) -> Table:
    """Return lines as a list in which the second line of a long entry is below the first."""
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row("-", shown(line))
    return table


def _first_file(run_dir: Path, plan: Plan | None, data: str) -> Path:
    """Return the file of the run folder that a person opens first: without a page, the one with the data."""
    return run_dir / ("report.html" if plan and "html" in plan.logger else data)


def _set_options(choice: Selection) -> str:
    """Return an option with its settings that are set; of a section, with those that are changed."""
    settings: dict[str, object] = {}
    for name, value in vars(choice.config).items():
        if is_dataclass(value) and not isinstance(value, type):
            plain = vars(type(value)())
            settings |= {
                f"{name}.{inner}": setting for inner, setting in vars(value).items() if setting != plain[inner]
            }
        elif value not in (None, False, [], {}) and as_text(value) != "none":
            settings[name] = value
    return _override_words(choice, settings)


def _changed_options(choice: Selection) -> str:
    """Return an option with its settings that are not the default."""
    settings = vars(choice.config)
    changed = [field.name for field in fields(choice.component.schema) if settings[field.name] != field.default]
    return _override_words(choice, {name: settings[name] for name in changed})


def _override_words(choice: Selection, settings: Mapping[str, object]) -> str:
    # With spaces in a list, a terminal breaks the line there and not inside a name.
    texts = {
        name: as_text(value).replace(",", ", ") if isinstance(value, list) else as_text(value)
        for name, value in settings.items()
    }
    return " ".join([choice.component.name, *(f"{name}={text}" for name, text in texts.items())])


def _artifacts(run_dir: Path, artifacts: Sequence[Artifact], *, details: bool = True) -> dict[str, str]:
    """Return the exported files by kind, a line for each; without `details` only the first number of the comparison."""
    rows: dict[str, str] = {}
    for artifact in artifacts:
        line = f"{display_run(run_dir / artifact.path)} ({_size(artifact.bytes)})"
        parity = artifact.parity if details else re.sub(r" \(.*?\)", "", artifact.parity.partition(", ")[0])
        line += f"\n  parity: {parity}" if parity else ""
        line += "".join(f"\n  note: {note}" for note in artifact.notes if details)
        # There may be several files of a kind.
        rows[artifact.kind] = f"{rows[artifact.kind]}\n{line}" if artifact.kind in rows else line
    return rows


def _rewards(plan: Plan) -> dict[str, str]:
    """Name the rewards that a method raises, if it has any."""
    weights = {name: choice.config.weight for name, choice in plan.reward.items()}
    terms = " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in weights.items())
    return {"rewards": terms} if terms else {}


def _size(byte_count: int) -> str:
    return f"{byte_count / 2**20:.1f} MiB" if byte_count >= 2**20 / 10 else f"{byte_count / 2**10:.1f} KiB"


def _numbers(step: Step) -> str:
    validation = f"  eval_loss {step.eval_loss:.3f}" if step.eval_loss is not None else ""
    # Of many, those without parts: the page and the other loggers have all.
    abridged = len(step.loss_metrics) > MOST_METRICS
    shown = {name: value for name, value in step.loss_metrics.items() if not (abridged and "/" in name)}
    # As plain numbers: a reward between 0 and 1 is not a share.
    validation += "".join(f"  {name} {value:.3g}" for name, value in shown.items())
    validation += "".join(f"  {name} {number(value, name)}" for name, value in step.metrics.items())
    return f"loss {step.loss:.3f}{visible(validation)}  {step.tokens / max(step.seconds, 1e-9):.0f} tokens/s"


def _seconds_left(step: Step) -> float:
    return step.seconds / step.step * (step.total_steps - step.step)


def outcome(change: Change) -> Text:
    """Write the outcome of a change."""
    # What is only of form or of the loss is not a success by itself.
    good = "green" if change.primary or change.kind is MeasureKind.content else "dim"
    styles = {Outcome.better: good, Outcome.worse: "red"}
    style = "yellow" if change.held_back else styles.get(change.outcome or Outcome.unknown, "dim")
    return Text(change.outcome_text, style=style)
