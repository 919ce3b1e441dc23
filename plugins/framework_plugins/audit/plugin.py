"""Registers the audit."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.audit import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """The audit of every run."""
    yield Component("standard", config.StandardConfig, "framework_plugins.audit.standard:Standard")
