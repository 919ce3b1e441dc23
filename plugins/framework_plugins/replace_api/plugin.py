"""Registers logs of an API as data, and what decides whether a model replaces the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework.api import Problem
from framework_plugins.replace_api import config

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Report


@hookimpl
def framework_components() -> Iterable[Component]:
    """Logs of an API, and what decides whether a model replaces it."""
    package = "framework_plugins.replace_api"
    yield Component("api_logs", config.ApiLogsConfig, f"{package}.source:ApiLogs")
    yield Component("replace_api", config.ReplaceApiConfig, f"{package}.evaluator:ReplaceApi")
    yield Component("replace-api", config.ReplaceApiCommandConfig, f"{package}.command:ReplaceApiCommand")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """The evaluator without logs: there are no answers of an API to compare with."""
    for name, choice in plan.evaluator.items():
        if isinstance(choice.config, config.ReplaceApiConfig) and not isinstance(
            plan.data.config, config.ApiLogsConfig
        ):
            yield Problem(
                f"evaluator={name} compares with logged answers, and data={plan.data.component.name} has none: set "
                "data=api_logs data.path=FILE, or leave the evaluator out",
                ("evaluator", "data"),
            )


@hookimpl
def framework_run_finished(plan: Plan, report: Report | None) -> None:
    """Write the decision into the run folder, and say it."""
    chosen = any(isinstance(choice.config, config.ReplaceApiConfig) for choice in plan.evaluator.values())
    if report is None or not chosen:
        return
    from framework_plugins.replace_api.decision import PAGE, decide, headline, lines  # noqa: PLC0415 - for such a run

    decision = decide(plan, report)
    if decision is not None:
        decision.write(plan.run_dir)
        print("", headline(decision), *lines(decision), plan.run_dir / PAGE, sep="\n")  # noqa: T201
