"""`logger=tensorboard`: event files in the run folder, for `tensorboard --logdir FOLDER`.

Curves under `train/`, `before/` and `after/`; config, answers, measures and verdict as texts; the settings as
hyperparameters, so that the trials of a sweep can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorboard  # noqa: F401 - torch would say too late, and less clearly, that it is not installed

from framework import Plan, Stage
from framework.api import (
    DataResult,
    EvalResult,
    Event,
    IssueFound,
    Logger,
    PrunedError,
    Report,
    RunFailed,
    RunFinished,
    RunStarted,
    Sample,
    StageFinished,
    TrainingStep,
    as_text,
    redact,
    summarize_error,
)
from framework_plugins.trackers.config import TensorBoardConfig
from framework_plugins.trackers.kept import trained_steps
from framework_plugins.trackers.tables import (
    LEARNED,
    Table,
    answers,
    flattened,
    learned_answers,
    measures,
    results,
    settings,
    step_values,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FLUSH_SECONDS = 10
MAX_CELL_CHARS = 500
"""Characters of a cell; the text tab shows tables as they are."""


class TensorBoard(Logger):
    """The event file of one run; a resumed run adds another one to the same folder."""

    def __init__(self, config: TensorBoardConfig) -> None:
        self.config = config
        self.writer: SummaryWriter | None = None
        self.values: dict[str, Any] = {}
        self.learned: dict[int, list[Sample]] = {}
        self.last_step = 0
        self.exit_code = 0

    def log(self, event: Event) -> None:
        """Write the event; the file is opened when the run starts."""
        match event:
            case RunStarted(plan, data, hardware):
                self._open(plan, data, hardware)
            case TrainingStep(step):
                self.last_step, self.learned[step.step] = step.step, step.samples
                self._scalars(step_values(step))
            case IssueFound(issue):
                self._text(f"issue/{issue.kind}", redact(issue.line))
            case StageFinished(stage, EvalResult() as result):
                prefix = "before" if stage is Stage.baseline else "after"
                self._scalars({f"{prefix}/{name}": value for name, value in result.figures.items()})
            case RunFinished(Report() as report, samples):
                self._write_report(report, samples)
            case RunFailed(error):
                pruned = isinstance(error, PrunedError)  # a trial that its sweep gives up has not failed
                self.exit_code = 0 if pruned else 1
                self._text("pruned" if pruned else "failed", summarize_error(error))

    def _open(self, plan: Plan, data: DataResult, hardware: Mapping[str, str]) -> None:
        """Open the file, and write the config."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - a plan alone imports no torch

        anew = 0 if plan.is_new_run else None  # of a run before into this folder nothing is to be shown
        folder = str(plan.run_dir / self.config.folder)
        self.writer = SummaryWriter(folder, flush_secs=FLUSH_SECONDS, purge_step=anew)
        self.values = settings(plan, data, hardware)
        self.last_step = trained_steps(plan)
        self._text("config", f"```json\n{json.dumps(self.values, indent=1, ensure_ascii=False)}\n```")

    def _text(self, name: str, text: str) -> None:
        if self.writer is not None:
            self.writer.add_text(name, text, self.last_step)
            self.writer.flush()

    def _table(self, name: str, table: Table) -> None:
        if table.rows:
            self._text(name, _markdown(table))

    def _scalars(self, values: Mapping[str, float]) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, self.last_step)

    def _write_report(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Write answers, measures and verdict, and the settings beside the objective."""
        if self.writer is None:
            return
        self._table("answers", answers(samples, self.config.answers))
        self._table("measures", measures(report))
        values = results(report)
        if report.verdict:
            self._text("verdict", "\n".join(f"- {line}" for line in values["verdict"]["lines"]))
        self._text("report", f"```json\n{json.dumps(values, indent=1, ensure_ascii=False)}\n```")
        objective = report.objective
        chosen = {name: _hyperparameter(value) for name, value in flattened(self.values) if not _is_result(name)}
        scores = {} if objective.value is None else {f"objective/{objective.name}": objective.value}
        # The name is a folder below the run's; without it, hyperparameters would be a run of their own.
        self.writer.add_hparams(chosen, scores, run_name=".", global_step=self.last_step)

    def close(self) -> None:
        """Write the learned answers and the end of the run, and close the file."""
        if self.writer is None:
            return
        self._table(LEARNED, learned_answers(self.learned, self.config.answers))
        self._scalars({"exit_code": self.exit_code})
        writer, self.writer = self.writer, None
        writer.close()


def _is_result(name: str) -> bool:
    return name.startswith(("data_result.", "hardware."))


def _hyperparameter(value: Any) -> bool | str | float:
    return value if isinstance(value, bool | int | float | str) else as_text(value)


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    text = text if len(text) <= MAX_CELL_CHARS else f"{text[: MAX_CELL_CHARS // 2]} … {text[-MAX_CELL_CHARS // 2 :]}"
    # The text tab reads Markdown, in which a pipe ends a cell.
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
