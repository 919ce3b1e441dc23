"""Registers the page."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_report import config


@hookimpl
def framework_loggers() -> Iterable[Component]:
    """The page."""
    yield Component("html", config.HtmlConfig, "framework_report.html:Html")
