"""`logger=tensorboard`: event files in the run folder, for `tensorboard --logdir FOLDER`.

Curves under `train/`, `before/` and `after/`; config, answers, measures and verdict as texts; the settings as
hyperparameters, so that the points of a sweep can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorboard  # noqa: F401 - torch would say too late, and less clearly, that it is not installed

from framework.api.errors import PrunedError
from framework.api.plan import Plan
from framework.api.protocols import Logger
from framework.api.records import DataResult, EvalResult, Report, Sample, Step, Trouble
from framework.api.text import as_text, one_line, redact
from framework_plugins.trackers.config import TensorBoardConfig
from framework_plugins.trackers.kept import trained_steps
from framework_plugins.trackers.tables import Table, answers, flat, measures, results, settings, step_values

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FLUSH_SECONDS = 10
LONGEST = 500
"""Characters of a cell; the text tab shows tables as they are."""


class TensorBoard(Logger):
    """The event file of one run; a run that goes on adds another one to the same folder."""

    def __init__(self, config: TensorBoardConfig) -> None:
        self.config = config
        self.plan: Plan | None = None
        self.writer: SummaryWriter | None = None
        self.values: dict[str, Any] = {}
        self.last_step = 0
        self.exit_code = 0

    def planned(self, plan: Plan) -> None:
        """Keep the plan."""
        self.plan = plan

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Open the file, and write the config."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - a plan alone imports no torch

        if self.plan is None:
            message = "planned comes before started"
            raise RuntimeError(message)
        anew = 0 if self.plan.is_new_run else None  # of a run before into this folder nothing is to be shown
        folder = str(run_dir / self.config.folder)
        self.writer = SummaryWriter(folder, flush_secs=FLUSH_SECONDS, purge_step=anew)
        self.values = settings(self.plan, data, facts)
        self.last_step = trained_steps(self.plan)
        self._text("config", f"```json\n{json.dumps(self.values, indent=1, ensure_ascii=False)}\n```")

    def _text(self, name: str, text: str) -> None:
        if self.writer is not None:
            self.writer.add_text(name, text, self.last_step)
            self.writer.flush()

    def _scalars(self, values: Mapping[str, float]) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, self.last_step)

    def step(self, step: Step) -> None:
        """Write the numbers of a step."""
        self.last_step = step.step
        self._scalars(step_values(step))

    def trouble(self, trouble: Trouble) -> None:
        """Write it as a text at its step."""
        self._text(f"trouble/{trouble.kind}", redact(trouble.line))

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Write the means."""
        prefix = "before" if before else "after"
        self._scalars({f"{prefix}/{name}": value for name, value in result.figures.items()})

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Write answers, measures and verdict, and the settings beside the objective."""
        if self.writer is None:
            return
        for name, table in (("answers", answers(samples, self.config.answers)), ("measures", measures(report))):
            if table.rows:
                self._text(name, _markdown(table))
        found = results(report)
        if report.verdict:
            self._text("verdict", "\n".join(f"- {line}" for line in found["verdict"]["lines"]))
        self._text("report", f"```json\n{json.dumps(found, indent=1, ensure_ascii=False)}\n```")
        objective = report.objective
        chosen = {name: _hyperparameter(value) for name, value in flat(self.values) if not _is_result(name)}
        scores = {} if objective.value is None else {f"objective/{objective.name}": objective.value}
        self.writer.add_hparams(chosen, scores, run_name=".", global_step=self.last_step)

    def failed(self, error: BaseException) -> None:
        """Write why; a point that its sweep gave up has not failed."""
        pruned = isinstance(error, PrunedError)
        self.exit_code = 0 if pruned else 1
        self._text("pruned" if pruned else "failed", redact(one_line(error)))

    def close(self) -> None:
        """Write how it ended, and close the file."""
        if self.writer is None:
            return
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
    text = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
