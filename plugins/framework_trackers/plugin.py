"""Registers loggers."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_trackers import config


@hookimpl
def framework_loggers() -> Iterable[Component]:
    """Terminal, file, W&B."""
    yield Component("console", config.ConsoleConfig, "framework_trackers.console:Console")
    yield Component("jsonl", config.JsonlConfig, "framework_trackers.jsonl:Jsonl")
    yield Component("wandb", config.WandbConfig, "framework_trackers.wandb_logger:Wandb", extra="framework[wandb]")
