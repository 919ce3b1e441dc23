"""Registers logs of an API as data, and what decides whether a model replaces the API."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.replace_api import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """Logs of an API."""
    package = "framework_plugins.replace_api"
    yield Component("api_logs", config.ApiLogsConfig, f"{package}.source:ApiLogs")
