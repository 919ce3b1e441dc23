"""Registers the launchers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_plugins.launch import config

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Problem

LAUNCHER = "framework_plugins.launch.place:launcher"


@hookimpl
def framework_components() -> Iterable[Component]:
    """In this process, in one of its own, or with a group of processes that trains; files for launchers of clouds."""
    yield Component("single", config.SingleConfig, LAUNCHER)
    yield Component("subprocess", config.SubprocessConfig, LAUNCHER)
    yield Component("ddp", config.DdpConfig, LAUNCHER)
    yield Component("fsdp2", config.Fsdp2Config, LAUNCHER)
    launch_file = "framework_plugins.launch.launch_file:LaunchFileCommand"
    yield Component("launch-file", config.LaunchFileCommandConfig, launch_file)


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Refuse groups that cannot come together, and a process of a group in which it cannot take its place."""
    from framework_plugins.launch.checks import environment_problems, problems  # noqa: PLC0415 - --help need not pay for it

    yield from environment_problems(plan)
    if isinstance(plan.launch.config, config.GroupConfig):
        yield from problems(plan, plan.launch.config)
