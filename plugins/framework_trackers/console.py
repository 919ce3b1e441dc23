"""`logger=console`: what a person sees of a run. In a pipe or a log file the bar becomes a line now and then."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from framework.errors import short
from framework.plan import Choice, Plan
from framework.protocols import Logger
from framework.records import Change, DataResult, EvalResult, Report, Sample, Step
from framework_trackers.config import ConsoleConfig

LINES = 10
"""How many progress lines a run prints where there is no terminal to draw a bar in."""
DOING = {
    "data": "reading and tokenizing the data",
    "baseline": "asking the base model",
    "train": "training",
    "evaluate": "asking the tuned model",
    "export": "exporting",
}


class Console(Logger):
    """The terminal."""

    def __init__(self, config: ConsoleConfig) -> None:
        self.config = config
        self.out = Terminal(highlight=False)
        self.plan: Plan | None = None
        self.bar: Progress | None = None
        self.task = TaskID(0)

    def planned(self, plan: Plan) -> None:
        """Show what will run."""
        self.plan = plan
        training = plan.training
        length = f"{training.max_steps} steps" if training.max_steps else f"{training.num_train_epochs:g} epochs"
        batch = f"{training.per_device_train_batch_size} x {training.gradient_accumulation_steps} rows a step"
        rate = f"learning rate {training.learning_rate:g} {training.lr_scheduler_type.value}"
        rows = {
            "model": plan.model_line,
            "quantization": _choice(plan.quantization),
            "adapter": _choice(plan.adapter),
            "data": f"{_choice(plan.data)}, format {plan.format.component.name}",
            "training": f"{plan.trainer.component.name}: {length}, {batch}, {rate}, warm-up {training.warmup_steps}",
            "measured by": ", ".join(["eval_loss", *plan.metric]),
            "stages": " → ".join(stage.value for stage in plan.stages),
            "folder": short(plan.run_dir),
        }
        self._facts(plan.name, rows)

    def _facts(self, title: str, rows: Mapping[str, str]) -> None:
        table = Table(
            box=None, show_header=False, pad_edge=False, title=title, title_justify="left", title_style="bold"
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, Text(value))
        self.out.print(table)
        self.out.print()

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:  # noqa: ARG002
        """Show the data and what was picked for this machine."""
        share = data.supervised_tokens / data.tokens
        formats = ", ".join(f"{name} ({rows} rows)" for name, rows in data.formats.items())
        rows = {
            "rows": f"{data.train_rows} to train, {data.validation_rows} held out, {data.prompts} prompts; {formats}",
            "tokens": f"{data.tokens:,}, of which {data.supervised_tokens:,} ({share:.0%}) are learned; "
            f"longest row {data.longest}",
            **facts,
        }
        if data.overflow_rows:
            rows["too long"] = (
                f"{data.overflow_rows} rows do not fit trainer.max_seq_length; {data.overflow_supervised_tokens:,} "
                "learned tokens are lost"
            )
        self._facts("data and machine", rows)

    def stage_started(self, stage: str) -> None:
        """Say what takes the time."""
        self._stop_bar()
        if stage in DOING:
            self.out.print(f"[dim]{DOING[stage]} …[/]")

    def step(self, step: Step) -> None:
        """Move the bar, or print a line."""
        if not self.out.is_terminal:
            every = max(1, step.total_steps // LINES)
            if step.step == 1 or step.step % every == 0 or step.step == step.total_steps:
                self.out.print(f"  step {step.step}/{step.total_steps}  {_numbers(step)}  {_left(step)} left")
            return
        if self.bar is None:
            self.bar = Progress(
                TextColumn("  step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.out,
            )
            self.task = self.bar.add_task("", total=step.total_steps)
            self.bar.start()
        self.bar.update(self.task, completed=step.step, description=_numbers(step))

    def _stop_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Show the means."""
        means = ", ".join(f"{name} {_number(value, name)}" for name, value in result.metrics.items())
        self.out.print(f"  {'before' if before else 'after'}: {means}")

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Show answers side by side, the numbers, and what to type next."""
        self._stop_bar()
        self._show_samples(samples[: self.config.samples])
        table = Table(title=f"{report.name}: before and after", title_justify="left", title_style="bold")
        for heading in ("", "before", "after"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, change in report.metrics.items():
            table.add_row(_name(name, change), _number(change.before, name), _number(change.after, name))
        self.out.print(table)
        rows = {}
        if report.train:
            train = report.train
            rows["training"] = (
                f"{train.steps} steps in {train.seconds:.0f} s, loss {train.train_loss:.3f} on average, "
                f"{train.last_loss:.3f} at the end"
            )
            rows["speed"] = (
                f"{report.tokens_per_second or 0:.0f} tokens/s, {report.supervised_tokens_per_second or 0:.0f} of them "
                "learned"
            )
            rows["trained"] = (
                f"{train.trainable_parameters / 1e6:.2f} of {train.total_parameters / 1e6:.1f} million parameters"
            )
            rows["peak memory"] = f"{train.peak_memory_bytes / 2**30:.2f} GiB"
        for artifact in report.artifacts:
            where = Path(report.run_dir, artifact.path)
            rows[artifact.kind] = f"{short(where)} ({artifact.bytes / 2**20:.1f} MiB)"
        rows["report"] = short(Path(report.run_dir, "report.json"))
        self._facts("", rows)
        self._show_next()

    def _show_next(self) -> None:
        """Print commands that go on from here, each on one line so that it can be copied."""
        if self.plan is None:
            return
        words = [word for word in self.plan.overrides if not word.startswith("run_dir=")]
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

    def _show_samples(self, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        if not samples:
            return
        shared = _shared_lines([after.prompt for _, after in samples])
        table = Table(title="answers", title_justify="left", title_style="bold", show_lines=True, expand=True)
        for heading in ("prompt", "before", "after"):
            table.add_column(heading, overflow="fold", ratio=1)
        for before, after in samples:
            right = after.reference is not None and after.answer.strip() == after.reference.strip()
            table.add_row(
                Text(after.prompt[shared:].strip()),
                Text(before.answer.strip() if before else "-"),
                Text(after.answer.strip(), style="green" if right else ""),
            )
        self.out.print(table)

    def close(self) -> None:
        """Give the terminal back."""
        self._stop_bar()


def _shared_lines(prompts: Sequence[str]) -> int:
    """Return the length of the first lines that all prompts have in common: an instruction need not stand in each."""
    first = prompts[0]
    length = 0
    while (
        len(prompts) > 1
        and all(prompt[: length + 1] == first[: length + 1] for prompt in prompts)
        and length < len(first)
    ):
        length += 1
    return first.rfind("\n", 0, length) + 1


def _choice(choice: Choice) -> str:
    """Return an option with its own settings, those that are set."""
    settings = [f"{name}={_value(value)}" for name, value in vars(choice.config).items() if value not in (None, False)]
    return " ".join([choice.component.name, *settings])


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(getattr(value, "value", value))


def _python() -> str:
    """Return how this Python is called from here: by its name where that is first on the path."""
    found = shutil.which("python")
    return "python" if found and Path(found) == Path(sys.executable) else short(Path(sys.executable))


def _numbers(step: Step) -> str:
    validation = f"  eval_loss {step.eval_loss:.3f}" if step.eval_loss is not None else ""
    return f"loss {step.loss:.3f}{validation}  {step.tokens / max(step.seconds, 1e-9):.0f} tokens/s"


def _left(step: Step) -> str:
    seconds = round(step.seconds / step.step * (step.total_steps - step.step))
    return f"{seconds // 60}:{seconds % 60:02d}"


def _name(name: str, change: Change) -> str:
    return f"{name} {'↑' if change.higher_is_better else '↓'}"


def _number(value: float | None, name: str) -> str:
    """Write a loss with digits and a rate as a percentage."""
    if value is None:
        return "-"
    return f"{value:.4f}" if name.endswith("loss") or not 0 <= value <= 1 else f"{value:.0%}"
