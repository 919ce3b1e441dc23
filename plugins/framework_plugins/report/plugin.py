"""Registers the page of a run, and writes that of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from framework import Component, hookimpl
from framework.api.records import Sweep
from framework_plugins.report import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """The page."""
    yield Component("html", config.HtmlConfig, "framework_plugins.report.html:Html")


@hookimpl
def framework_sweep_finished(folder: Path, sweep: Sweep) -> None:
    """Write the page of a sweep."""
    from framework_plugins.report.sweep import write  # noqa: PLC0415 - Jinja, which a run alone need not load here

    write(folder, sweep)
