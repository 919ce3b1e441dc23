"""Registers the launchers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_plugins.launch import config

if TYPE_CHECKING:
    from framework import Plan

GROUP = "framework_plugins.launch.launcher:GroupLauncher"


@hookimpl
def framework_components() -> Iterable[Component]:
    """Here, in a process of its own, or with a group of processes that trains."""
    yield Component("single", config.SingleConfig, "framework_plugins.launch.single:Single")
    yield Component("subprocess", config.SubprocessConfig, "framework_plugins.launch.child_process:ChildProcess")
    yield Component("ddp", config.DdpConfig, GROUP)
    yield Component("fsdp2", config.Fsdp2Config, GROUP)


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Refuse groups that cannot come together, and a process of a group in which it cannot take its place."""
    from framework_plugins.launch.checks import environment_problems, problems  # noqa: PLC0415 - --help need not pay for it

    yield from environment_problems(plan)
    if isinstance(plan.launch.config, config.GroupConfig):
        yield from problems(plan, plan.launch.config)
