"""What `python -m framework doctor` looks at for the trackers."""

from __future__ import annotations

import importlib

from framework import Plan
from framework.api import DiagnosticResult, State, installed, missing, pip_command
from framework_plugins.trackers.config import WandbConfig

SYNC_LATER = "`wandb sync` uploads such runs later"


def wandb(plan: Plan | None) -> DiagnosticResult:
    """Import wandb if it is installed."""
    return _library(plan, "wandb", "wandb", "wandb")


def tensorboard(plan: Plan | None) -> DiagnosticResult:
    """Import the writer of event files; torch, which calls it, has a check of its own."""
    return _library(plan, "tensorboard", "tensorboard.summary.writer.event_file_writer", "tensorboard")


def mlflow(plan: Plan | None) -> DiagnosticResult:
    """Import MLflow; the small distribution is a part of the whole one."""
    return _library(plan, "mlflow-skinny", "mlflow.tracking", "mlflow")


def _library(plan: Plan | None, distribution: str, module: str, name: str) -> DiagnosticResult:
    """Import a library; it takes seconds, so that of a logger that the run does not choose is only looked up."""
    version = installed(distribution)
    if version is None:
        return DiagnosticResult(State.missing, "not installed", fix=pip_command([f"framework-finetune[{name}]"]))
    if plan is not None and name not in plan.logger:
        return DiagnosticResult(State.ok, f"installed; logger=[{name}] imports it", version)
    importlib.import_module(module)
    return DiagnosticResult(State.ok, "can be imported", version)


def login(_: Plan | None) -> DiagnosticResult | None:
    """Say where `logger.wandb.mode=auto` logs to, and the source of its key; empty if wandb is missing."""
    if missing(["wandb"]):
        return None
    from framework_plugins.trackers import wandb_key  # noqa: PLC0415 - only this check needs wandb
    from framework_plugins.trackers.wandb_run import logging_mode  # noqa: PLC0415 - as above

    connection = logging_mode(WandbConfig())
    key_source = "" if wandb_key.why_no_login(wandb_key.quiet_settings()) else wandb_key.login_source()
    if connection.mode == "online":
        return DiagnosticResult(State.ok, f"{key_source}; logger=[wandb] logs online to {connection.address}")
    why = f"{key_source}, but {connection.why}" if key_source else connection.why
    if connection.mode == "disabled":
        return DiagnosticResult(State.off, f"{why}: logger=[wandb] logs nothing")
    return DiagnosticResult(State.off, f"{why}: logger=[wandb] logs offline", fix=connection.fix or SYNC_LATER)
