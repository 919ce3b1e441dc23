"""Registers evaluators and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_evals import config

if TYPE_CHECKING:
    from framework.plan import Plan


@hookimpl
def framework_evaluators() -> Iterable[Component]:
    """Before and after."""
    yield Component("prompts", config.PromptsConfig, "framework_evals.prompts:Prompts")


@hookimpl
def framework_metrics() -> Iterable[Component]:
    """Scores of an answer."""
    yield Component("exact_match", config.ExactMatchConfig, "framework_evals.metrics:ExactMatch")
    yield Component("json_valid", config.JsonValidConfig, "framework_evals.metrics:JsonValid")


@hookimpl
def framework_config_paths() -> Iterable[str]:
    """The presets below conf/."""
    yield "pkg://framework_evals.conf"


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Refuse what cannot be evaluated."""
    for name, choice in plan.evaluator.items():
        if isinstance(choice.config, config.PromptsConfig):
            for field in ("count", "max_new_tokens", "batch_size"):
                if getattr(choice.config, field) < 1:
                    yield f"evaluator.{name}.{field}={getattr(choice.config, field)} must be at least 1"
