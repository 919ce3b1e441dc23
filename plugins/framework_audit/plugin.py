"""Registers the audit."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_audit import config


@hookimpl
def framework_audits() -> Iterable[Component]:
    """What is looked for in every run."""
    yield Component("standard", config.StandardConfig, "framework_audit.standard:Standard")
