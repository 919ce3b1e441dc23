"""Registers the launchers."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_launch import config


@hookimpl
def framework_launchers() -> Iterable[Component]:
    """Here, or in a process of its own."""
    yield Component("local", config.LocalConfig, "framework_launch.local:Local")
    yield Component("subprocess", config.SubprocessConfig, "framework_launch.child_process:ChildProcess")
