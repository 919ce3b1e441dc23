"""The plugin of `pairs_plugin.py` as a fixture, and rows for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from framework.hooks.session import current
from tests.support import pairs_plugin

NAME = "pairs_plugin"


@contextmanager
def pairs() -> Iterator[None]:
    """Register the plugin for a while."""
    plugins = current().plugins
    plugins.add(pairs_plugin, name=NAME)
    try:
        yield
    finally:
        for name in (NAME, f"{NAME}:functions"):
            plugins.manager.unregister(name=name)


def pair_rows(count: int) -> str:
    """Return a file of pairs with a common beginning."""
    rows = (
        {"prompt": f"Which number follows {n}?", "chosen": f"It is {n + 1}.", "rejected": "Say odd." * (1 + n % 3)}
        for n in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)
