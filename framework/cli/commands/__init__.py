"""The core's own commands. They are components like everyone's, registered by this module as the plugin `core`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from framework.api.component import Component
from framework.api.markers import hookimpl
from framework.api.schema import CommandConfig


@dataclass
class PluginsCommandConfig(CommandConfig):
    """List what can be chosen, from which package, and what it lacks here: `plugins [GROUP [OPTION]] [--json]`."""


@dataclass
class RerunCommandConfig(CommandConfig):
    """Run what a run folder was made of once more, into a new folder: `rerun RUN_DIR [OVERRIDES…] [--anyway]`."""


@dataclass
class ResumeCommandConfig(CommandConfig):
    """Run what is missing of a sweep: points that failed, were killed or never began: `resume SWEEP_FOLDER`."""


@dataclass
class DiffCommandConfig(CommandConfig):
    """Compare what two runs were made of and what came of them: `diff RUN_A RUN_B [--json]`."""


@dataclass
class ReferenceCommandConfig(CommandConfig):
    """Write a page of all settings, and JSON Schemas for editors: `reference FOLDER [--package NAME]`."""


@dataclass
class PlanTableCommandConfig(CommandConfig):
    """Print what models of common sizes take: `plan-table [--rows FILE.csv [OUT.csv] | --gpus] [--json]`.

    --rows FILE.csv [OUT.csv]   predict the memory of measured runs, a row each; to standard output without OUT.csv
    --gpus                      large models on many GPUs
    --json                      the table as JSON
    """


@hookimpl
def framework_components() -> Iterable[Component]:
    """Register the core's commands."""
    yield Component("plugins", PluginsCommandConfig, "framework.cli.commands.plugins:PluginsCommand")
    yield Component("rerun", RerunCommandConfig, "framework.cli.commands.rerun:RerunCommand")
    yield Component("resume", ResumeCommandConfig, "framework.cli.commands.resume:ResumeCommand")
    yield Component("diff", DiffCommandConfig, "framework.cli.commands.diff:DiffCommand")
    yield Component("reference", ReferenceCommandConfig, "framework.cli.commands.reference:ReferenceCommand")
    yield Component("plan-table", PlanTableCommandConfig, "framework.cli.commands.plan_table:PlanTableCommand")
