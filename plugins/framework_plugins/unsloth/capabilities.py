"""The capabilities of a trainer here, for one run: tested once, in a separate process, and cached.

It is not looked up in a list. `ask.py` trains a tiny model of the run's architecture with the run's adapter,
quantization and packing on this machine, in two processes where a group is to train, and says what did not work. It is
Unsloth that is asked, and where that cannot do something, `trainer=hf` too, before anybody is sent there.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.api.backend import module_hash
from framework.api.errors import FrameworkError
from framework.api.files import cache_dir, digest, read_json, write_json
from framework.api.machine import installed
from framework.api.plan import Plan
from framework.api.process import PythonProcess

LIBRARIES = ("framework", "unsloth", "unsloth_zoo", "torch", "transformers", "trl", "peft", "bitsandbytes", "triton")
PACKAGES = ("framework_plugins.unsloth", "framework_plugins.hf")
"""The code that asks, and that is asked."""
SETTINGS = ("device", "dtype", "attention", "gradient_checkpointing", "packing", "optim", "lr_scheduler_type")
"""Settings of the trainer on which the answer may depend."""
CHOICES = ("trainer", "adapter", "quantization", "launch")
SECONDS = 600
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Capabilities:
    """The answer.

    Attributes:
        device: what is trained on here, `cpu` or `cuda`.
        problem: why this run does not work; empty where it does.
    """

    device: str
    problem: str


def capabilities(plan: Plan, config: Mapping[str, Any]) -> Capabilities:
    """Return what the trainer of a plan can do for it, with a model of which config.json is known.

    Raises:
        FrameworkError: it cannot be asked: it does not start here.
    """
    file = _file(plan, config)
    kept = read_json(file)
    if kept.keys() != {"device", "problem"}:
        log.info("asking trainer=%s what it can do here, once", plan.trainer.component.name)
        kept = _ask(plan, config)
        write_json(file, kept)
    return Capabilities(**kept)


def _file(plan: Plan, config: Mapping[str, Any]) -> Path:
    """Return where the answer lies: by machine, versions, architecture, and the settings that it depends on."""
    group = plan.launch.config.group()
    key = {
        "machine": [platform.node(), platform.python_version(), os.environ.get("CUDA_VISIBLE_DEVICES")],
        "versions": {name: installed(name) for name in LIBRARIES},
        "code": [module_hash(name) for name in PACKAGES],
        "model": {name: value for name, value in config.items() if name != "transformers_version"},
        "trainer": [plan.trainer.component.name, {name: getattr(plan.trainer.config, name) for name in SETTINGS}],
        "adapter": [plan.adapter.component.name, vars(plan.adapter.config)],
        "quantization": [plan.quantization.component.name, vars(plan.quantization.config)],
        "launch": group and [group.engine, group.processes > 1, group.cpu_offload],
    }
    return cache_dir() / "unsloth" / f"asked-{digest(json.dumps(key, sort_keys=True, default=str))}.json"


def _ask(plan: Plan, config: Mapping[str, Any]) -> dict[str, Any]:
    job = {"config": dict(config), **{name: getattr(plan, name) for name in CHOICES}}
    try:
        with PythonProcess() as process:
            answer: dict[str, Any] = process.call("framework_plugins.unsloth.ask:answer", **job, seconds=SECONDS)
    except FrameworkError as error:
        asked = f"trainer={plan.trainer.component.name}"
        message = f"{asked} cannot be tried here, with unsloth {installed('unsloth')}: {error}"
        raise FrameworkError(message) from error
    return answer
