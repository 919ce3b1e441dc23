"""In which process a run may happen, and how its plan gets there.

Some libraries change others, and have to be imported before them: an option says so in `Component.import_order`. A plan
is pickled with what has to be imported before it can be read.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import FrameworkError, Plan, Selection
from framework.api import plugins, summarize_error
from framework.api.program import load_file
from framework_plugins.lib.import_order import imported_too_late

NOT_CARRIED = (
    "launch={} cannot pass on this plan ({}): the settings of a plugin have to be defined at the top level of an "
    "importable module. Put the plugin into a file and name that file, plugins=[./mine.py], or set launch=single"
)


# The plan and not the overrides: composed again, files that changed could give another one.
@dataclass(frozen=True)
class PickledPlan:
    """A plan in a form that can be pickled. Plugins that were registered by hand are included as far as possible.

    Attributes:
        launch: the option of `launch=` that sends it, for messages.
        paths: where Python looks for modules.
        first: modules that have to be imported before anything else, see `Component.import_order`.
        files: plugins of one file.
        plan: the pickled plan.
    """

    launch: str
    paths: Sequence[str]
    first: Sequence[str]
    files: Sequence[str]
    plan: bytes

    def load(self) -> Plan:
        """Read the plan, after the files of plugins are loaded: their classes may be in it.

        Raises:
            FrameworkError: something in it cannot be imported here.
        """
        sys.path[:] = self.paths
        for module in self.first:  # before a plugin's file imports what has to come later
            importlib.import_module(module)
        for file in self.files:
            load_file(file)
        plugins().components("reward")  # makes the settings of metrics as rewards
        try:
            plan: Plan = pickle.loads(self.plan)  # noqa: S301 - our own parent wrote it
        except (AttributeError, ImportError) as error:
            raise FrameworkError(NOT_CARRIED.format(self.launch, summarize_error(error))) from error
        return plan


def pickle_plan(plan: Plan) -> PickledPlan:
    """Pickle a plan.

    Raises:
        FrameworkError: something in it cannot be pickled.
    """
    launch, files = plan.launch.component.name, list(plan.config["plugins"])
    plugin_modules = {Path(file).stem for file in files}  # what a file of a plugin registers comes with the file
    modules = [module for module in first_modules(plan.selections) if module.partition(".")[0] not in plugin_modules]
    try:
        return PickledPlan(launch, list(sys.path), modules, files, pickle.dumps(plan))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise FrameworkError(NOT_CARRIED.format(launch, summarize_error(error))) from error


def end_with(parent: int, number: int = signal.SIGINT, last: Callable[[], None] = lambda: None) -> None:
    """Wait until the file descriptor of a pipe shows that the parent is gone, then end this process with a signal.

    Args:
        parent: the file descriptor.
        number: of the signal.
        last: what is done before.
    """
    while os.read(parent, 1):
        pass
    last()
    os.kill(os.getpid(), number)


def stale(selections: Mapping[str, Selection]) -> str:
    """Return why what a plan selects needs a new process; empty if this one will do.

    What a library has changed stays changed, so a process that has imported such a library is only for runs with its
    option.
    """
    chosen = [selection.component for selection in selections.values()]
    for key, component in zip(selections, chosen, strict=True):
        # What Unsloth patches at import stays patched, and it must come before transformers.
        if too_late := imported_too_late(component.import_order):
            library, group = component.import_order[0], key.partition(".")[0]
            when = f"before {_and(too_late)}, which this process has imported already"
            return f"{group}={component.name} needs {library} imported {when}"
    for group, component in plugins().every_option():
        library, *patched = component.import_order or ("",)
        if library in sys.modules and component not in chosen:
            return f"this process has imported {library}, which changes {_and(patched)} for {group}={component.name}"
    return ""


def first_modules(selections: Mapping[str, Selection]) -> list[str]:
    """Return the modules of the selected options that a fresh process has to import before anything else."""
    chosen = [selection.component for selection in selections.values()]
    return [component.factory.partition(":")[0] for component in chosen if component.import_order]


def _and(names: list[str]) -> str:
    *leading, last = names
    return f"{', '.join(leading)} and {last}" if leading else last
