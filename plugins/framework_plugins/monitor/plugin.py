"""Registers the rules that monitor a training."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Plan, hookimpl
from framework.api.training import TrainingMonitor


@hookimpl
def framework_training_monitors(plan: Plan) -> Iterable[TrainingMonitor]:
    """Watch losses, gradients and validations by the rules of `health`."""
    from framework_plugins.monitor.health_monitor import HealthMonitor  # noqa: PLC0415 - only a training needs the rules

    yield HealthMonitor(plan)
