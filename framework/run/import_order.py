"""Whether a run may happen in this process: some libraries change others, and have to be imported before them.

An option says so in `Component.import_order`. A process in which such a library was imported is for runs with that
option only: what it changed stays changed.
"""

from __future__ import annotations

import sys

from framework.api.component import GROUPS, imported_too_late
from framework.api.plan import Plan
from framework.hooks.session import current


def stale(plan: Plan) -> str:
    """Return why a plan needs a new process; empty if this one will do."""
    chosen = [selection.component for selection in plan.selections.values()]
    for place, component in zip(plan.selections, chosen, strict=True):
        # What Unsloth patches at import stays patched, and it must come before transformers (decision 0010).
        if too_late := imported_too_late(component.import_order):
            first, group = component.import_order[0], place.partition(".")[0]
            when = f"before {_and(too_late)}, which this process has imported already"
            return f"{group}={component.name} needs {first} imported {when}"
    for name in GROUPS:
        for component in current().plugins.components(name).values():
            first, *others = component.import_order or ("",)
            if first in sys.modules and component not in chosen:
                return f"this process has imported {first}, which changes {_and(others)} for {name}={component.name}"
    return ""


def first_modules(plan: Plan) -> list[str]:
    """Return the modules of the plan's options that a fresh process has to import before anything else."""
    chosen = [selection.component for selection in plan.selections.values()]
    return [component.factory.partition(":")[0] for component in chosen if component.import_order]


def _and(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
