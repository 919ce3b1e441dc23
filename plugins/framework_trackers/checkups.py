"""What `python -m framework doctor` looks at for the trackers."""

from __future__ import annotations

import importlib
from importlib.metadata import version

from framework.checkup import Found, State
from framework.network import reachable
from framework.plan import Plan
from framework.requirements import missing, pip_command
from framework_trackers.wandb_key import address, key_place

LOGIN = "wandb login, or set WANDB_API_KEY"


def wandb(_: Plan | None) -> Found:
    """Import wandb where it is installed."""
    return _library("wandb", "wandb", "wandb")


def tensorboard(_: Plan | None) -> Found:
    """Import what writes event files; torch, which calls it, is looked at elsewhere."""
    return _library("tensorboard", "tensorboard.summary.writer.event_file_writer", "tensorboard")


def mlflow(_: Plan | None) -> Found:
    """Import MLflow; the small distribution is a part of the whole one."""
    return _library("mlflow-skinny", "mlflow.tracking", "mlflow")


def _library(distribution: str, module: str, extra: str) -> Found:
    if missing([distribution]):
        return Found(State.missing, "not installed", fix=pip_command([f"framework[{extra}]"]))
    importlib.import_module(module)
    return Found(State.ok, "can be imported", version(distribution))


def login(_: Plan | None) -> Found:
    """Say where a key is, never what it is, and where `logger.wandb.mode=auto` logs for it."""
    place = key_place()
    if not place:
        return Found(State.off, "no key: logger=[wandb] logs offline", fix=LOGIN)
    if not reachable(address()):
        detail = f"a key in {place}, but {address()} cannot be reached: logger=[wandb] logs offline"
        return Found(
            State.off, detail, fix="check the network and WANDB_BASE_URL; `wandb sync` uploads such runs later"
        )
    return Found(State.ok, f"a key in {place}; logger=[wandb] logs online to {address()}")
