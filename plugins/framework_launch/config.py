"""Options of `launch=`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.schema import LaunchConfig


@dataclass
class LocalConfig(LaunchConfig):
    """In the process that was started."""
