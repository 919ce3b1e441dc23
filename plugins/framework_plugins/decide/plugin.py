"""Registers what is called `decide`, in all groups that it has one in, and data for it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, FrameworkError, hookimpl
from framework.api import Problem, as_text
from framework_plugins.decide import config

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Work

READ_ROWS = 100_000
"""Rows whose labels a plan counts."""
MOST_NAMED = 100
"""Labels that a plan suggests as options; more are rather texts."""


@hookimpl
def framework_components() -> Iterable[Component]:
    """Decisions: which of the given options fits a text."""
    package = "framework_plugins.decide"
    yield Component("decide", config.DecideFormatConfig, f"{package}.rows:Decide")
    yield Component("decide", config.DecideConfig, f"{package}.method:Decide")
    yield Component("decide", config.DecideAuditConfig, f"{package}.audit:Decide")
    yield Component("decide", config.DecideEvaluatorConfig, f"{package}.evaluator:Decide")
    yield Component("decide", config.DecideExporterConfig, f"{package}.exporter:Decide")
    yield Component("tickets", config.TicketsConfig, f"{package}.tickets:Tickets")
    yield Component("decide", config.DecideCommandConfig, f"{package}.command:DecideCommand")
    yield Component("learning-curve", config.LearningCurveConfig, f"{package}.curve:LearningCurve")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Options that nobody named, names of options that do not exist, and questions without the text."""
    settings = plan.format.config
    if not isinstance(settings, config.DecideFormatConfig):
        if any(isinstance(choice.config, config.DecideExporterConfig) for choice in plan.exporter.values()):
            yield Problem("exporter=decide writes how format=decide asks: set format=decide", ("exporter", "format"))
        return
    if config.TEXT not in settings.question:
        yield Problem(f"format.question={settings.question!r} has no {config.TEXT}: add it", ("format.question",))
    method = plan.method.config if isinstance(plan.method.config, config.DecideConfig) else config.DecideConfig()
    if method.score is config.Score.ranked and not settings.scale:
        yield Problem(
            "method.score=ranked is for a scale: set format.scale=true if format.labels are in their order",
            ("method.score", "format.scale"),
        )
    if settings.labels:
        weights = method.class_weights
        for setting, option in config.unknown_labels(settings.labels, settings.names, weights):
            yield Problem(f"{setting} has the option {option!r}, which is not in format.labels", (setting,))
    elif names := _label_names(plan):
        yield Problem(
            f"format=decide needs the options, and the rows have these labels: {', '.join(names)}. Set "
            f'"format.labels={as_text(names)}"{_id_advice(names)}',
            ("format.labels",),
        )


def _id_advice(names: list[str]) -> str:
    ids = all(name.removesuffix(".0").isdigit() for name in names)
    return ", or the names of these ids in their order, from 0 on: names say what they mean" if ids else ""


def _label_names(plan: Plan) -> list[str]:
    """Return the different labels of the rows, if they can be read at once and have no options of their own."""
    from framework_plugins.decide.rows import label_text, renamed  # noqa: PLC0415 - --help need not pay for it

    try:
        raw = plan.data.create().check()
        rows = itertools.islice(raw.train if raw else (), READ_ROWS)
        columns = plan.format.config.columns
        labels = Counter(label_text(renamed(row.fields, columns)) for row in rows if not row.problem)
    except FrameworkError:
        return []  # the trial of the first rows reports what is wrong with them
    labels.pop("", None)
    return sorted(labels) if len(labels) <= MOST_NAMED else []


@hookimpl
def framework_advice(plan: Plan, work: Work | None) -> Iterable[str]:
    """Add the audit and the evaluator that belong to the method."""
    del work
    if not isinstance(plan.method.config, config.DecideConfig):
        return
    for group, chosen, kind in (
        ("audit", plan.audit, config.DecideAuditConfig),
        ("evaluator", plan.evaluator, config.DecideEvaluatorConfig),
    ):
        if not any(isinstance(choice.config, kind) for choice in chosen.values()):
            what = "checks the options" if group == "audit" else "measures decisions and calibrates them"
            yield f"{group}=decide {what}: set {group}=[{','.join([*chosen, 'decide'])}]"
