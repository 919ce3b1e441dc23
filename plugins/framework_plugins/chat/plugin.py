"""Registers the command `chat`."""

from __future__ import annotations

from collections.abc import Iterable

from framework import Component, hookimpl
from framework_plugins.chat.config import ChatCommandConfig


@hookimpl
def framework_components() -> Iterable[Component]:
    """`python -m framework chat`."""
    yield Component("chat", ChatCommandConfig, "framework_plugins.chat.command:ChatCommand")
