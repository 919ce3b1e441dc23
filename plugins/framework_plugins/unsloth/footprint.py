"""The memory use of `trainer=unsloth` for the plan: as `trainer=hf`, with the differences. Without torch."""

from __future__ import annotations

import dataclasses

from framework import FrameworkError, Plan
from framework.api import GIB, Gpu
from framework.api.training import MemorySettings, Shape, Weights
from framework_plugins.hf.settings import memory_plan as hf
from framework_plugins.hf.settings.config import Device, HFTrainerConfig, Packing

IMPORT_BYTES = 0.3 * GIB
"""Bytes that Unsloth and what it imports take of a process beside the libraries that trainer=hf imports, on a CPU."""


def footprint(plan: Plan, shape: Shape, gpu: Gpu | None, longest: int, shared: int, mean: int) -> MemorySettings:
    """Return how a plan trains: on a GPU rows are padded, and what checkpointing keeps lies in the CPU's memory."""
    config: HFTrainerConfig = plan.trainer.config
    on_gpu = gpu is not None and config.device is not Device.cpu
    if on_gpu and config.packing is Packing.tree:
        padded = dataclasses.replace(config, packing=Packing.pad)
        plan = dataclasses.replace(plan, trainer=dataclasses.replace(plan.trainer, config=padded))
    settings = hf.footprint(plan, shape, gpu, longest, shared, mean)
    if shape.expert_parameters and settings.weights is Weights.int8:
        raise FrameworkError(
            "trainer=unsloth quantizes experts in another way than quantization=int8 of trainer=hf, which this "
            "estimate does not cover"
        )
    settings = dataclasses.replace(settings, grouped_experts=False)
    if not on_gpu:
        return dataclasses.replace(settings, process=settings.process + IMPORT_BYTES)
    return dataclasses.replace(settings, offloaded=settings.checkpointing, attention_choice="")
