"""Registers loggers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework.api import Diagnostic, Problem, missing, pip_command
from framework_plugins.trackers import config

DATABASE = ("sqlalchemy>=2", "alembic>=1.10")

if TYPE_CHECKING:
    from framework import Plan


@hookimpl
def framework_components() -> Iterable[Component]:
    """Terminal, file, W&B, TensorBoard, MLflow."""
    yield Component("console", config.ConsoleConfig, "framework_plugins.trackers.console:Console")
    yield Component("jsonl", config.JsonlConfig, "framework_plugins.trackers.jsonl:Jsonl")
    yield Component(
        "wandb", config.WandbConfig, "framework_plugins.trackers.wandb_logger:Wandb", extra="framework-finetune[wandb]"
    )
    yield Component(
        "tensorboard",
        config.TensorBoardConfig,
        "framework_plugins.trackers.tensorboard_logger:TensorBoard",
        extra="framework-finetune[tensorboard]",
    )
    yield Component(
        "mlflow",
        config.MlflowConfig,
        "framework_plugins.trackers.mlflow_logger:Mlflow",
        extra="framework-finetune[mlflow]",
    )


@hookimpl
def framework_check_plan(plan: Plan) -> Iterator[Problem]:
    """Report a database that MLflow cannot open before anything is trained."""
    choice = plan.logger.get("mlflow")
    if choice is None or not isinstance(choice.config, config.MlflowConfig):
        return
    address = choice.config.tracking_uri or ""
    is_database = "://" in address and not address.startswith(("file:", "http:", "https:", "databricks:", "uc:"))
    if is_database and (lacking := missing(DATABASE)):
        names = ", ".join(lacking)
        yield Problem(f"logger.mlflow.tracking_uri is a database: MLflow needs {names} for it: {pip_command(DATABASE)}")


@hookimpl
def framework_diagnostics() -> Iterable[Diagnostic]:
    """W&B and its login, TensorBoard, MLflow. Without a login a run logs offline, so none needs it."""
    for name in ("wandb", "tensorboard", "mlflow"):
        needed = functools.partial(_logs_to, name)
        yield Diagnostic(name, "tracking", f"framework_plugins.trackers.diagnostics:{name}", needed, process="quick")
    yield Diagnostic("wandb login", "tracking", "framework_plugins.trackers.diagnostics:login", process="quick")


def _logs_to(name: str, plan: Plan) -> bool:
    return name in plan.logger
