"""What trackers show of a run besides its curves: tables of answers and of measures, and the config as single values.

All of it has passed `redact`: it leaves the machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework import Plan
from framework.api import DataResult, Report, Sample, Step, as_plain, redact

LEARNED = "train/answers"
"""What the table of answers that a training learned from is called."""
PAGE_FILE = "report.html"
"""What `logger=html` writes into the run folder."""
ADAPTER_EXPORTER = "adapter"
"""The exporter whose folder is the trained weights with all that is needed to use them."""


@dataclass(frozen=True)
class Table:
    """Named columns and their rows."""

    columns: list[str]
    rows: list[list[Any]]


def answers(samples: Sequence[tuple[Sample | None, Sample]], limit: int) -> Table:
    """Return the answers before and after side by side, with the scores of each; `limit` rows at most."""
    selected = samples[:limit]
    names = list(dict.fromkeys(name for _, after in selected for name in after.scores))
    scores = [f"{name} {when}" for name in names for when in ("before", "after")]
    rows = []
    for before, after in selected:
        earlier = before.scores if before else {}
        values = [value for name in names for value in (earlier.get(name), after.scores.get(name))]
        rows.append([after.prompt, after.reference, before.answer if before else None, after.answer, *values])
    return Table(["prompt", "reference", "before", "after", *scores], redact(rows))


def answers_of_one(samples: Sequence[Sample], limit: int) -> Table:
    """Return the answers of one evaluation, with their scores; `limit` rows at most."""
    selected = samples[:limit]
    names = list(dict.fromkeys(name for sample in selected for name in sample.scores))
    rows = [[sample.prompt, sample.reference, sample.answer, *map(sample.scores.get, names)] for sample in selected]
    return Table(["prompt", "reference", "answer", *names], redact(rows))


def learned_answers(steps: Mapping[int, Sequence[Sample]], limit: int) -> Table:
    """Return some answers that a training learned from, by the numbers of its steps, from all over it."""
    stride = max(1, -(-sum(map(len, steps.values())) // limit)) if limit else 1
    chosen = [step for step, samples in steps.items() if samples][::stride]
    pairs = [(step, sample) for step in chosen for sample in steps[step]][:limit]
    table = answers_of_one([sample for _, sample in pairs], limit)
    return Table(["step", *table.columns], [[step, *row] for (step, _), row in zip(pairs, table.rows, strict=True)])


def measures(report: Report) -> Table:
    """Return each measure before and after, the bounds of the difference, and the outcome."""
    columns = ["measure", "of", "items", "before", "after", "low", "high", "p", "outcome", "unit"]
    rows = [
        [
            *(name, change.aspect.value, change.pairs, change.before, change.after, change.low, change.high),
            *(change.p_value, change.outcome_text or None, change.unit),
        ]
        for name, change in report.metrics.items()
    ]
    return Table(columns, redact(rows))


def step_values(step: Step) -> dict[str, float]:
    """Return the numbers of a log entry by the names of their curves."""
    excluded = {"step", "metrics", "loss_metrics", "samples"}
    values = {f"train/{name}": value for name, value in as_plain(step).items() if name not in excluded}
    if step.eval_loss is None:
        del values["train/eval_loss"]
    return values | {f"train/{name}": value for name, value in {**step.loss_metrics, **step.metrics}.items()}


def settings(plan: Plan, data: DataResult, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the resolved config, the chosen options, the result of the data stage, and the picked settings."""
    additions = {"data_result": as_plain(_remove_quotes(data)), "hardware": dict(facts)}
    config: dict[str, Any] = redact({**plan.config, **additions})
    # Names of options are not secrets, and `metric.token_f1` is not a name of one.
    return {**config, "options": plan.options}


def _remove_quotes(data: DataResult) -> DataResult:
    """Return the result without quotes of rows, which may hold secrets."""
    findings = [dataclasses.replace(finding, examples=[]) for finding in data.findings]
    problems = [dataclasses.replace(problem, problem="") for problem in data.proof.problems]
    proof = dataclasses.replace(data.proof, problems=problems)
    return dataclasses.replace(data, view=[], findings=findings, bad_examples=[], proof=proof)


def results(report: Report) -> dict[str, Any]:
    """Return the report as plain values; the data are part of the config."""
    values: dict[str, Any] = redact(as_plain(dataclasses.replace(report, data=None)))
    return values


def flattened(value: Any, path: str = "", sign: str = ".") -> Iterator[tuple[str, Any]]:
    """Give the single values below `value` with their paths, `trainer.learning_rate`; an empty list is one."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flattened(part, f"{path}{sign}{name}" if path else str(name), sign)
    elif path:
        yield path, value


def page(plan: Plan) -> str:
    """Return the report page of `logger=html`; empty if there is none."""
    file = plan.run_dir / PAGE_FILE
    if "html" not in plan.logger or not file.is_file():
        return ""
    return str(redact(file.read_text(encoding="utf-8")))


def weights(plan: Plan) -> Path | None:
    """Return the folder of the exported adapter, else of the trained weights; None if there is neither."""
    exporter = plan.exporter.get(ADAPTER_EXPORTER)
    exported = [plan.run_dir / exporter.config.folder] if exporter else []
    folders = (*exported, plan.checkpoint)
    return next((folder for folder in folders if folder.is_dir() and any(folder.iterdir())), None)


def run_name(name: str | None, plan: Plan) -> str:
    """Return the name of a run among others."""
    return str(redact(name or f"{plan.name}-{plan.run_dir.name}"))
