"""Registers the command `doctor`."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.doctor.config import DoctorCommandConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """`python -m framework doctor`."""
    yield Component("doctor", DoctorCommandConfig, "framework_plugins.doctor.command:DoctorCommand")
