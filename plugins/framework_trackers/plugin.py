"""Registers loggers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_trackers import config

if TYPE_CHECKING:
    from framework.checkup import Checkup
    from framework.plan import Plan


@hookimpl
def framework_loggers() -> Iterable[Component]:
    """Terminal, file, W&B."""
    yield Component("console", config.ConsoleConfig, "framework_trackers.console:Console")
    yield Component("jsonl", config.JsonlConfig, "framework_trackers.jsonl:Jsonl")
    yield Component("wandb", config.WandbConfig, "framework_trackers.wandb_logger:Wandb", extra="framework[wandb]")


@hookimpl
def framework_checkups() -> Iterable[Checkup]:
    """W&B and its login. Without a login a run logs offline, so none needs it."""
    from framework.checkup import Checkup  # noqa: PLC0415 - only `doctor` needs it

    yield Checkup("wandb", "tracking", "framework_trackers.checkups:library", _logs_to_wandb)
    yield Checkup("wandb login", "tracking", "framework_trackers.checkups:login")


def _logs_to_wandb(plan: Plan) -> bool:
    return any(isinstance(choice.config, config.WandbConfig) for choice in plan.logger.values())
