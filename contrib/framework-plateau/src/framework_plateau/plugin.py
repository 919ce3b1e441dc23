"""Registers the callback."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plateau.config import PlateauConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """A callback."""
    yield Component("plateau", PlateauConfig, "framework_plateau.plateau:Plateau")
