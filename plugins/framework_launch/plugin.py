"""Registers the launchers."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_launch import config


@hookimpl
def framework_launchers() -> Iterable[Component]:
    """Here."""
    yield Component("local", config.LocalConfig, "framework_launch.local:Local")
