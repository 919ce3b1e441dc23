"""Tests what a trainer can do: it trains a tiny copy of a run's model as the run would.

`capabilities.py` calls it in a process of its own; `questions.py` says what is tried.
"""

from __future__ import annotations

import importlib
from typing import Any


def answer(**asked: Any) -> dict[str, Any]:
    """Return the device and the problem, for a plan's options and a config.json."""
    importlib.import_module(asked["trainer"].component.factory.partition(":")[0])  # Unsloth before all that it changes
    from framework_plugins.unsloth import questions  # noqa: PLC0415 - as said

    return {"device": questions.device(asked["trainer"].config), "problem": questions.problem(**asked)}
