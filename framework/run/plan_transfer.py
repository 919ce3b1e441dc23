"""A plan on its way into other processes: pickled with what has to be imported before it can be read."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.api.plan import Plan
from framework.api.protocols import Model, SupportsDistributed
from framework.api.schema import Stage
from framework.hooks.local_file import load_file
from framework.hooks.session import current
from framework.run.import_order import first_modules
from framework.util.errors import FrameworkError, summarize_error

NOT_CARRIED = (
    "launch={} cannot pass on this plan ({}): the settings of a plugin have to be defined at the top level of an "
    "importable module. Put the plugin into a file and name that file, plugins=[./mine.py], or set launch=single"
)


# The plan and not the overrides: composed again, files that changed could give another one (decision 0027).
@dataclass(frozen=True)
class PickledPlan:
    """A plan in a form that can be pickled. Plugins that were registered by hand are included as far as possible.

    Attributes:
        launch: the option of `launch=` that sends it, for messages.
        paths: where Python looks for modules.
        first: modules that have to be imported before anything else, see `import_order.py`.
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
            load_file(current().plugins, file)
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
    own = {Path(file).stem for file in files}  # what a file of a plugin registers comes with the file
    first = [module for module in first_modules(plan) if module.partition(".")[0] not in own]
    try:
        return PickledPlan(launch, list(sys.path), first, files, pickle.dumps(plan))
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


def check_distributed(plan: Plan, model: Model) -> None:
    """Look whether a model can be trained by a group of processes, where it is to be.

    Raises:
        FrameworkError: it cannot.
    """
    if plan.launch.config.group() and Stage.train in plan.stages and not isinstance(model, SupportsDistributed):
        raise FrameworkError(
            f"launch={plan.launch.component.name}: trainer={plan.trainer.component.name} trains in one process only: "
            "set launch=single, or trainer=hf"
        )
