"""Registers the audit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_plugins.audit import config

if TYPE_CHECKING:
    from framework import Plan
    from framework.api import Problem


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Look where the rows that are left are to be written."""
    for choice in plan.audit.values():
        if isinstance(choice.config, config.StandardConfig) and choice.config.clean is not None:
            from framework_plugins.audit import clean  # noqa: PLC0415 - it loads numpy

            yield from clean.problems(plan, choice.config)


@hookimpl
def framework_components() -> Iterable[Component]:
    """The audit of every run."""
    yield Component("standard", config.StandardConfig, "framework_plugins.audit.standard:Standard")
