"""Registers the page of a run, and writes that of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from framework import Component, hookimpl
from framework.api import Sweep, display_path, redact
from framework_plugins.report import config


@hookimpl
def framework_components() -> Iterable[Component]:
    """The page."""
    yield Component("html", config.HtmlConfig, "framework_plugins.report.html:Html")


@hookimpl
def framework_sweep_finished(folder: Path, sweep: Sweep) -> None:
    """Write the page of a sweep, and say where it is."""
    from framework_plugins.report.sweep import FILE, write  # noqa: PLC0415 - Jinja, which a run alone need not load here

    write(folder, sweep)
    print(redact(f"page: {display_path(folder / FILE)}"))  # noqa: T201 - once a sweep, below its table
