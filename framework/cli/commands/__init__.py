"""The core's own commands. They are components like any other, registered by this module as the plugin `core`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from framework.api.component import Component, hookimpl
from framework.api.schema import CommandConfig


@dataclass
class PluginsCommandConfig(CommandConfig):
    """List what can be chosen, which package it comes from, and what is not installed."""

    usage = "[GROUP [OPTION]]"


@dataclass
class ExperimentsCommandConfig(CommandConfig):
    """List the experiments with a line each, or describe one: what it sets, and where its file is."""

    usage = "[NAME]"


@dataclass
class RerunCommandConfig(CommandConfig):
    """Repeat the run of a run folder, in a new folder."""

    usage = "RUN_DIR"


@dataclass
class ResumeCommandConfig(CommandConfig):
    """Continue an interrupted run, or run the trials of a sweep that failed, were killed or never began."""

    usage = "[FOLDER]"


@dataclass
class RunsCommandConfig(CommandConfig):
    """List the runs and sweeps of a folder: when each began, how it ended, and its verdict."""

    usage = "[FOLDER]"


@dataclass
class RemoveCommandConfig(CommandConfig):
    """Remove runs and sweeps below outputs/, after a list with their sizes."""

    usage = "[RUN…]"


@dataclass
class DiffCommandConfig(CommandConfig):
    """Compare the settings, data and results of two runs."""

    usage = "RUN_A RUN_B"


@dataclass
class AuditRewardsCommandConfig(CommandConfig):
    """Say what is wrong with the rewards of a run, on made answers and on the model's own."""

    usage = "[KEY=VALUE…]"


@dataclass
class ReferenceCommandConfig(CommandConfig):
    """Write a page of all settings, and JSON Schemas for editors."""

    usage = "FOLDER"


@dataclass
class PlanTableCommandConfig(CommandConfig):
    """Print the memory that models of common sizes need, or what fits a GPU."""

    usage = "[GPU]"


@hookimpl
def framework_components() -> Iterable[Component]:
    """Register the core's commands."""
    yield Component("plugins", PluginsCommandConfig, "framework.cli.commands.plugins:PluginsCommand")
    yield Component("experiments", ExperimentsCommandConfig, "framework.cli.commands.plugins:ExperimentsCommand")
    yield Component("rerun", RerunCommandConfig, "framework.cli.commands.rerun:RerunCommand")
    yield Component("resume", ResumeCommandConfig, "framework.cli.commands.resume:ResumeCommand")
    yield Component("runs", RunsCommandConfig, "framework.cli.commands.runs:RunsCommand")
    yield Component("remove", RemoveCommandConfig, "framework.cli.commands.remove:RemoveCommand")
    yield Component("diff", DiffCommandConfig, "framework.cli.commands.diff:DiffCommand")
    audit = "framework.cli.commands.audit_rewards:AuditRewardsCommand"
    yield Component("audit-rewards", AuditRewardsCommandConfig, audit)
    yield Component("reference", ReferenceCommandConfig, "framework.cli.commands.reference:ReferenceCommand")
    yield Component("plan-table", PlanTableCommandConfig, "framework.cli.commands.plan_table:PlanTableCommand")
