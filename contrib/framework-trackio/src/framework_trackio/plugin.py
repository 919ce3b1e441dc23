"""Registers the logger."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_trackio.config import TrackioConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """One tracker."""
    yield Component("trackio", TrackioConfig, "framework_trackio.trackio_logger:Trackio", extra="trackio>=0.43")
