"""Registers evaluators and metrics."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_evals import config


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
