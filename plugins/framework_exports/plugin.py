"""Registers exporters."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_exports import config


@hookimpl
def framework_exporters() -> Iterable[Component]:
    """The adapter as it was trained."""
    yield Component("adapter", config.AdapterExporterConfig, "framework_exports.adapter:AdapterExporter")
