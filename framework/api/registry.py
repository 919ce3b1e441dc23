"""What the plugins of this process register, how to call their hooks, and what trials of a sweep share.

This module gives access to the session, so nothing in the core imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from omegaconf import DictConfig

from framework.api.component import Component, Group
from framework.api.selection import Selection
from framework.hooks import local_file
from framework.hooks.manager import Registration, SkippedPlugin
from framework.hooks.progress import Counter
from framework.hooks.session import current
from framework.util.shared_cache import SharedCache

__all__ = [
    "Counter",
    "Registration",
    "SkippedPlugin",
    "ask",
    "components",
    "counting",
    "load_file",
    "package",
    "registrations",
    "selection_of",
    "shared_cache",
    "skip_plugin",
    "skipped_plugins",
]
T = TypeVar("T")


def registrations(group: Group | str) -> dict[str, Registration]:
    """Return the options of a group by name, in the order of the names, each with its plugin.

    Raises:
        FrameworkError: one name is registered twice.
    """
    return current().plugins.registrations(group)


def components(group: Group | str) -> dict[str, Component]:
    """Return the options of a group by name, in the order of the names.

    Raises:
        FrameworkError: one name is registered twice.
    """
    return current().plugins.components(group)


def selection_of(node: DictConfig) -> Selection:
    """Return the option that a part of a composed config chooses, with its settings.

    Raises:
        FrameworkError: no plugin registers the class of the settings, or that class refuses what is set.
    """
    return current().plugins.selection_of(node)


def ask(hook: str, expect: type[T], **arguments: Any) -> Iterator[tuple[str, T]]:
    """Call a hook of every plugin and yield each item that it returns, with the plugin's name. A string is one item.

    A plugin that raises, or gives something else than what is expected, is reported and skipped; a `FrameworkError` is
    raised here.
    """
    return current().plugins.ask(hook, expect, **arguments)


def skip_plugin(plugin: str, what: str, error: BaseException | str) -> None:
    """Mark a part of a plugin as not used, and report it once."""
    current().plugins.skip_plugin(plugin, what, error)


def skipped_plugins() -> list[SkippedPlugin]:
    """Return the plugins, and the parts of plugins, that are not used because they are broken."""
    return current().plugins.skipped_plugins()


def package(plugin: str) -> str:
    """Return where a plugin comes from: its distribution with the version, or its file."""
    return current().plugins.package(plugin)


def counting(total: int | None, unit: str, task: str = "") -> AbstractContextManager[Counter]:
    """Count long work, so that the loggers of the run show how far it is; without a run nothing is shown.

        with counting(len(prompts), "prompt") as counter:
            ...
            counter.advance()

    Args:
        total: how many there are; None if unknown: then only the time is shown.
        unit: what is counted, in the singular.
        task: what is done, if the name of the measure or the exporter does not say it.
    """
    return current().progress.counting(total, unit, task)


def load_file(path: str) -> None:
    """Load a plugin from one Python file. Its module has the name of the file, which its factories use.

    Raises:
        FrameworkError: there is no such file, it cannot be imported, or its name is taken.
    """
    local_file.load_file(current().plugins, path)


def shared_cache() -> SharedCache:
    """Return the cache that the trials of a sweep in this process share; without a sweep it keeps nothing."""
    return current().shared
