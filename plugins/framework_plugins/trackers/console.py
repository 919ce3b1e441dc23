"""`logger=console`: what a person sees of a run. In a pipe or a log file the bar becomes a line now and then."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.table import Table
from rich.text import Text

from framework.api.events import (
    Event,
    ForecastUpdated,
    IssueFound,
    RunFinished,
    RunPlanned,
    RunStarted,
    StageFinished,
    StageStarted,
    TrainingStep,
)
from framework.api.fields import fields
from framework.api.plan import Plan, Selection
from framework.api.protocols import Logger
from framework.api.records import (
    Aspect,
    Change,
    DataResult,
    EvalResult,
    Forecast,
    MeasureKind,
    Outcome,
    Report,
    Sample,
    Step,
    Verdict,
)
from framework.api.schema import Stage
from framework.api.text import (
    HIDDEN,
    as_text,
    count,
    difference,
    display_path,
    forecast_facts,
    hide,
    number,
    redact,
    visible,
)
from framework_plugins.trackers.config import ConsoleConfig
from framework_plugins.trackers.console_training import training_rows

if TYPE_CHECKING:
    from framework_plugins.trackers.console_bar import Bar

LINES = 10
"""How many progress lines a run prints where there is no terminal to draw a bar in."""
SECRET = "$SECRET"  # noqa: S105 - a place to fill in
"""What stands in a command for what is secret."""
LOOKING = {Stage.plan, Stage.data}
"""A run of these stages alone is made to look at the data."""
DOING = {
    Stage.data: "reading and tokenizing the data",
    Stage.baseline: "asking the base model",
    Stage.train: "training",
    Stage.evaluate: "asking the tuned model",
    Stage.export: "exporting",
}


class Console(Logger):
    """The terminal."""

    def __init__(self, config: ConsoleConfig) -> None:
        self.config = config
        self.out = Terminal(highlight=False)
        self.plan: Plan | None = None
        self.bar: Bar | None = None
        self.forecast_shown = False
        self.expected: Forecast | None = None
        self.noted: set[str] = set()

    def log(self, event: Event) -> None:
        match event:
            case RunPlanned(plan):
                self.plan = plan
                self._show_plan(plan)
            case ForecastUpdated(forecast):
                self._show_forecast(forecast)
            case RunStarted(plan, data, hardware):
                self._show_data(plan, data, hardware)
            case StageStarted(stage):
                self._stop_bar()
                if stage in DOING:
                    self.out.print(f"[dim]{DOING[stage]} …[/]")
            case TrainingStep(step):
                self._show_step(step)
            case IssueFound(issue):  # above the bar where there is one
                self.out.print(shown(Text(f"  {issue.line}", style="yellow")), soft_wrap=True)
            case StageFinished(stage, EvalResult() as result):
                self._show_evaluation("before" if stage is Stage.baseline else "after", result)
            case RunFinished(Report() as report, samples):
                self._show_report(report, samples)

    def _show_plan(self, plan: Plan) -> None:
        """Show what will run."""
        training = plan.training
        length = count(training.max_steps, "step") if training.max_steps else count(training.num_train_epochs, "epoch")
        batch = f"{training.per_device_train_batch_size} x {training.gradient_accumulation_steps} rows a step"
        if group := plan.launch.config.group():
            batch = f"{batch.removesuffix(' rows a step')} x {group.processes} processes = {plan.batch} rows a step"
        rate = f"learning rate {training.learning_rate:g} {training.lr_scheduler_type.value}"
        ratio = training.warmup_ratio
        warmup = f"{ratio:.3g} of the steps" if ratio is not None else training.warmup(0)
        rows = {
            "model": plan.model_line,
            "quantization": _choice(plan.quantization),
            "adapter": _choice(plan.adapter),
            "data": f"{_changed(plan.data)}, format {_changed(plan.format)}",
            "training": f"{plan.trainer.component.name}: {length}, {batch}, {rate}, warm-up {warmup}",
            "measured by": ", ".join(["eval_loss", *plan.metric]),
            "stages": " → ".join(stage.value for stage in plan.stages),
            "folder": display_path(plan.run_dir),
        }
        self._facts(plan.name, rows)

    def _show_forecast(self, forecast: Forecast) -> None:
        """Show what the run will need, once: with the rows, or where there will be none known, without."""
        self.expected = forecast
        known = forecast.memory is None or forecast.memory.rows_known
        alone = self.plan is not None and self.plan.stages == (Stage.plan,)
        if self.forecast_shown or not (known or alone):
            return
        self.forecast_shown = True
        rows: dict[str, str | Text] = {}
        for fact in forecast_facts(forecast):
            text = Text("\n".join([fact.text, *(f"  {line}" for line in fact.more)]))
            text.stylize("yellow" if fact.amiss else "")
            rows[fact.name] = text
        self._facts("needs", rows)

    def _facts(self, title: str, rows: Mapping[str, str | Text]) -> None:
        heading = Text(title, "bold") if title else None  # as it is: a name may look like rich's own marks
        table = Table(box=None, show_header=False, pad_edge=False, title=heading, title_justify="left")
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, shown(value))
        self.out.print(table)
        self.out.print()

    def _show_data(self, plan: Plan, data: DataResult, hardware: Mapping[str, str]) -> None:
        """Show the data and what was picked for this machine; where the data are all that is asked for, rows too."""
        from framework_plugins.trackers import console_data  # noqa: PLC0415 - a plan alone has nothing of it to show

        self._facts("data", console_data.facts(data))
        console_data.show_findings(self.out, data.findings, plan.audit)
        if set(plan.stages) <= LOOKING:
            console_data.show_rows(self.out, data.view)
            self._facts("", {"report": display_path(_page(plan.run_dir, plan))})
            return
        self._facts("machine", hardware)

    def _show_step(self, step: Step) -> None:
        """Move the bar, or print a line."""
        if not self.out.is_terminal:
            every = max(1, step.total_steps // LINES)
            checked = step.eval_loss is not None or step.metrics
            if step.step == 1 or step.step % every == 0 or step.step == step.total_steps or checked:
                self.out.print(f"  step {step.step}/{step.total_steps}  {_numbers(step)}  {_left(step)} left")
            return
        if self.bar is None:
            from framework_plugins.trackers.console_bar import Bar  # noqa: PLC0415 - a quarter of the time that rich takes

            self.bar = Bar(self.out, step.total_steps)
        self.bar.move(step.step, _numbers(step))

    def _stop_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _show_evaluation(self, when: str, result: EvalResult) -> None:
        """Show the means, and warn of what could not be measured, once."""
        measures = [(name, one) for name, one in result.measures.items() if one.aspect is Aspect.task]
        means = ", ".join(f"{name} {number(measure.value, name, measure.unit)}" for name, measure in measures)
        self.out.print(Text(f"  {when}: {means}"))
        for note in result.notes:
            if note not in self.noted:
                self.out.print(shown(Text(f"  warning: {visible(note, '⏎')}", style="yellow")), soft_wrap=True)
        self.noted.update(result.notes)

    def _show_report(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Show answers side by side, the numbers, and what to type next."""
        self._stop_bar()
        self._show_samples(samples[: self.config.samples])
        table = Table(title=Text(f"{report.name}: before and after", "bold"), title_justify="left")
        for heading in ("", "prompts", "before", "after"):
            table.add_column(heading, justify="right" if heading else "left")
        judged = any(change.outcome for change in report.metrics.values())
        if report.verdict and judged:
            for heading in (f"difference, {report.verdict.confidence:.0%}", ""):
                table.add_column(heading)
        # What was asked for first stands first.
        for name, change in sorted(report.metrics.items(), key=lambda item: not item[1].primary):
            if change.aspect is not Aspect.task:  # the verdict says it, the report has the numbers
                continue
            values = (number(value, name, change.unit) for value in (change.before, change.after))
            more = (difference(change, name), outcome(change)) if judged else ()
            table.add_row(_name(name, change), f"{change.pairs:,}" if change.pairs else "", *values, *more)
        self.out.print(table)
        if report.verdict:
            self._show_verdict(report.verdict)
        rows = training_rows(report, self.expected, self.plan)
        for artifact in report.artifacts:
            where = Path(report.run_dir, artifact.path)
            line = f"{display_path(where)} ({artifact.bytes / 2**20:.1f} MiB)"
            line += f"\n  parity: {artifact.parity}" if artifact.parity else ""
            # There may be several files of a kind.
            rows[artifact.kind] = f"{rows[artifact.kind]}\n{line}" if artifact.kind in rows else line
        rows["report"] = display_path(_page(Path(report.run_dir), self.plan))
        self._facts("", rows)
        self._show_next()

    def _show_samples(self, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        from framework_plugins.trackers import console_samples  # noqa: PLC0415 - shown at the end alone

        if samples:
            self.out.print(console_samples.side_by_side(samples))

    def _show_verdict(self, verdict: Verdict) -> None:
        """Print what the run was worth."""
        score = "" if verdict.score is None else f", score {verdict.score:.2f} of 1"
        self.out.print(Text(f"verdict{score}", style="bold"))
        for line in verdict.lines:
            self.out.print(shown(f"  {line}"), soft_wrap=True)
        if verdict.more:
            self.out.print(shown(Text(f"  also: {'; '.join(verdict.more)}", "dim")), soft_wrap=True)

    def _show_next(self) -> None:
        """Print the commands to try next, each on one line so that it can be copied."""
        if self.plan is None:
            return
        # The command stands in logs of Slurm and CI: what is secret in it is to be filled in.
        words = [hide(word).replace(HIDDEN, SECRET) for word in self.plan.overrides if not word.startswith("run_dir=")]
        rate, python = self.plan.training.learning_rate, _python()
        others = shlex.join(word for word in words if not word.startswith(("data=", "data.")))
        rates = shlex.join(word for word in words if not word.startswith("trainer.learning_rate="))
        self.out.print("[bold]next[/]")
        for aim, command in (
            ("your own data", f"{python} -m framework {others} data=local_file data.path=FILE.jsonl"),
            (
                "other rates",
                f"{python} -m framework -m {rates} trainer.learning_rate={rate / 2:g},{rate:g},{rate * 2:g}",
            ),
        ):
            self.out.print(Text(f"  {aim}: {command}"), soft_wrap=True)

    def close(self) -> None:
        self._stop_bar()


def shown(value: str | Text) -> Text:
    """Return what may be printed of a text: without secrets."""
    text = Text(value) if isinstance(value, str) else value
    safe = redact(text.plain)
    return text if safe == text.plain else Text(safe, text.style)


def _page(run_dir: Path, plan: Plan | None) -> Path:
    """Return the file of the run folder that a person opens first."""
    finished = plan is None or Stage.report in plan.stages
    data = "report.json" if finished else "data.json"
    return run_dir / ("report.html" if plan and "html" in plan.logger else data)


def _choice(choice: Selection) -> str:
    """Return an option with its own settings, those that are set."""
    settings = {name: value for name, value in vars(choice.config).items() if value not in (None, False, [], {})}
    return _words(choice, settings)


def _changed(choice: Selection) -> str:
    """Return an option with those of its settings that are not the default."""
    settings = vars(choice.config)
    changed = [field.name for field in fields(choice.component.schema) if settings[field.name] != field.default]
    return _words(choice, {name: settings[name] for name in changed})


def _words(choice: Selection, settings: Mapping[str, object]) -> str:
    return " ".join([choice.component.name, *(f"{name}={as_text(value)}" for name, value in settings.items())])


def _python() -> str:
    """Return how this Python is called from here: by its name where that is first on the path."""
    path = shutil.which("python")
    return "python" if path and Path(path) == Path(sys.executable) else display_path(Path(sys.executable))


def _numbers(step: Step) -> str:
    validation = f"  eval_loss {step.eval_loss:.3f}" if step.eval_loss is not None else ""
    validation += "".join(f"  {name} {number(value, name)}" for name, value in step.metrics.items())
    return f"loss {step.loss:.3f}{validation}  {step.tokens / max(step.seconds, 1e-9):.0f} tokens/s"


def _left(step: Step) -> str:
    seconds = round(step.seconds / step.step * (step.total_steps - step.step))
    return f"{seconds // 60}:{seconds % 60:02d}"


def outcome(change: Change) -> Text:
    """Write what a change comes to."""
    if change.outcome is None:
        return Text("")
    # What is only of form or of the loss is no success by itself.
    good = "green" if change.primary or change.kind is MeasureKind.content else "dim"
    styles = {Outcome.better: good, Outcome.worse: "red"}
    return Text(change.outcome.value, style=styles.get(change.outcome, "dim"))


def _name(name: str, change: Change) -> str:
    return f"{name} {'↑' if change.higher_is_better else '↓'}"
