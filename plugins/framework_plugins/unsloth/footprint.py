"""The memory use of `trainer=unsloth` for the plan: as `trainer=hf`, with the differences. Without torch."""

from __future__ import annotations

import dataclasses

from framework.api.backend import MemorySettings, Shape
from framework.api.machine import GIB, Gpu
from framework.api.plan import Plan
from framework_plugins.hf.settings import memory_plan as hf
from framework_plugins.hf.settings.config import Device, HFTrainerConfig, Packing

IMPORTED = 0.3 * GIB
"""Bytes that Unsloth and what it imports take of a process beside the libraries that trainer=hf imports, on a CPU."""


def footprint(plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, shared: int) -> MemorySettings:
    """Return how a plan trains: on a GPU rows are padded, and what checkpointing keeps lies in the CPU's memory."""
    config: HFTrainerConfig = plan.trainer.config
    on_gpu = gpu is not None and config.device is not Device.cpu
    if on_gpu and config.packing is Packing.tree:
        padded = dataclasses.replace(config, packing=Packing.pad)
        plan = dataclasses.replace(plan, trainer=dataclasses.replace(plan.trainer, config=padded))
    settings = hf.footprint(plan, shape, gpu, longest, shared)
    if not on_gpu:
        return dataclasses.replace(settings, process=settings.process + IMPORTED)
    return dataclasses.replace(settings, offloaded=settings.checkpointing)
