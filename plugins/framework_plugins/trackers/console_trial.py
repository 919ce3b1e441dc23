"""What the terminal shows of a trial of a sweep: a line when it begins, one when it ends; its page has the rest."""

from __future__ import annotations

from framework import Plan
from framework.api import Report, number, redact


def start_line(plan: Plan) -> str:
    """Return which trial begins: `trial 1 of 4: trainer.learning_rate=1e-4`."""
    return str(redact(f"trial {plan.trial or plan.run_dir.name}"))


def outcome_line(report: Report) -> str:
    """Return its result: the measures that were asked for, before and after, and how long it took."""
    changes = [(name, change) for name, change in report.metrics.items() if change.primary or name == "eval_loss"]
    parts = [
        f"{name} {number(change.before, name, change.unit)} to {number(change.after, name, change.unit)}"
        if change.before is not None
        else f"{name} {number(change.after, name, change.unit)}"
        for name, change in changes
    ]
    score = [f"score {report.verdict.score:.2f}"] if report.verdict and report.verdict.score is not None else []
    origin = [f"trained in {report.train.taken_from}"] if report.train and report.train.taken_from else []
    return ", ".join([*parts, *score, f"{sum(report.seconds.values()):.0f} s", *origin])
