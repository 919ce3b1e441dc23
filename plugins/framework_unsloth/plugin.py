"""Registers the Unsloth backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework_unsloth.config import UnslothTrainerConfig
from framework_unsloth.versions import EXTRA, ORDER

if TYPE_CHECKING:
    from framework.plan import Plan


@hookimpl
def framework_trainers() -> Iterable[Component]:
    """The backend."""
    backend = "framework_unsloth.backend:UnslothBackend"
    yield Component("unsloth", UnslothTrainerConfig, backend, extra=EXTRA, import_order=ORDER)
