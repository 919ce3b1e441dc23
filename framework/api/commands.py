"""For authors of commands: the config and the plan that overrides make, and the plan of an earlier run. Provisional.

    overrides = complete_overrides(["+experiment=quickstart"])
    plan = make_plan(load_config(overrides), overrides=tuple(overrides))

This module re-exports names from the rooms above `api`, so nothing in the core imports it.
"""

from framework.cli.arguments import complete_overrides, reject_duplicate_overrides
from framework.plan.load import load_config, restored
from framework.plan.make import check_model, make_plan
from framework.rundir.folder import check_writable
from framework.rundir.read import newest_run, read_run
from framework.util.command import CommandParser

__all__ = [
    "CommandParser",
    "check_model",
    "check_writable",
    "complete_overrides",
    "load_config",
    "make_plan",
    "newest_run",
    "read_run",
    "reject_duplicate_overrides",
    "restored",
]
