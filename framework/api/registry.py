"""What the plugins of this process register, how to call their hooks, and what trials of a sweep share.

This module gives access to the session, so nothing in the core imports it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from framework.hooks import local_file
from framework.hooks.manager import Plugins
from framework.hooks.progress import Counter
from framework.hooks.session import current
from framework.util.shared_cache import SharedCache

__all__ = ["Counter", "counting", "load_file", "plugins", "shared_cache"]


def plugins() -> Plugins:
    """Return the plugins of this process: what they register, how to call their hooks, and which parts are broken.

    plugins().components("metric")["exact_match"]
    for plugin, diagnostic in plugins().ask("framework_diagnostics", object): ...
    """
    return current().plugins


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
