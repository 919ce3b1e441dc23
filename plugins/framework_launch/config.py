"""Options of `launch=`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.schema import LaunchConfig


@dataclass
class LocalConfig(LaunchConfig):
    """In the process that was started; a run that cannot share it goes on in one of its own."""


@dataclass
class SubprocessConfig(LaunchConfig):
    """In a process of its own: all memory comes back at the end, and a killed run does not end a sweep."""
