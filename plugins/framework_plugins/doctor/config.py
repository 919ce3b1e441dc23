"""The command `doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.api.program import CommandConfig


@dataclass
class DoctorCommandConfig(CommandConfig):
    """Check this machine, and report whether a run can start on it."""
