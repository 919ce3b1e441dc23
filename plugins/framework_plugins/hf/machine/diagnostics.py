"""The checks of `python -m framework doctor` for this plugin, and which plans need them.

`diagnostic_checks` imports torch and makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from framework.api import Diagnostic
from framework_plugins.hf.settings.config import (
    CPU_LIMIT,
    Attention,
    Device,
    Int8Config,
    NF4Config,
    TransformersTrainerConfig,
)

if TYPE_CHECKING:
    from framework import Plan

BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])")
TORCH = "torch"
"""The process of the checks that import torch for a second anyway."""


def diagnostics() -> Iterator[Diagnostic]:
    """Give them in the order in which they are shown."""
    checks = "framework_plugins.hf.machine.diagnostic_checks"
    yield Diagnostic("torch", "hardware", f"{checks}:torch_build", needs_backend, TORCH)
    yield Diagnostic("CPU", "hardware", f"{checks}:cpu", process=TORCH)
    yield Diagnostic("GPU", "hardware", f"{checks}:gpu", needs_gpu, TORCH)
    yield Diagnostic("driver", "hardware", f"{checks}:driver", process=TORCH)
    for name in ("transformers", "peft", "trl"):
        yield Diagnostic(name, "training", f"{checks}:{name}", needs_backend, TORCH)
    yield Diagnostic("bitsandbytes", "training", f"{checks}:bitsandbytes", needs_bitsandbytes, TORCH)
    yield Diagnostic("NF4", "training", f"{checks}:nf4", needs_nf4, TORCH)
    kernels = "framework_plugins.hf.machine.kernels"
    yield Diagnostic("flash-attn", "kernels", f"{kernels}:flash_attn", needs_flash_attention, TORCH)
    for name in ("fla", "causal-conv1d", "mamba-ssm", "hub kernels", "triton"):
        yield Diagnostic(name, "kernels", f"{kernels}:{name.replace(' ', '_').replace('-', '_')}", process=TORCH)


def needs_backend(plan: Plan) -> bool:
    """Whether this backend trains."""
    return isinstance(plan.trainer.config, TransformersTrainerConfig)


def needs_bitsandbytes(plan: Plan) -> bool:
    """Whether the base weights are quantized by bitsandbytes."""
    return isinstance(plan.quantization.config, NF4Config | Int8Config)


def needs_nf4(plan: Plan) -> bool:
    """Whether the base weights are stored in four bits."""
    return isinstance(plan.quantization.config, NF4Config)


def needs_flash_attention(plan: Plan) -> bool:
    """Whether its kernels are chosen."""
    trainer = plan.trainer.config
    return isinstance(trainer, TransformersTrainerConfig) and trainer.attention is Attention.flash_attention_2


def needs_gpu(plan: Plan) -> bool:
    """Whether a GPU is asked for, or the model is by its name too large for what `trainer.device=auto` trains on a CPU.

    The trainer itself counts the parameters when it opens the model; the name is known without the model.
    """
    trainer = plan.trainer.config
    if not isinstance(trainer, TransformersTrainerConfig) or trainer.device is Device.cpu:
        return False
    return trainer.device is Device.cuda or billions(plan.model.config.source()) * 1e9 > CPU_LIMIT


def billions(path: str) -> float:
    """Return the billions of parameters that the name of a model tells, as in `Llama-3.1-8B`; 0 if it tells none."""
    sizes = [float(size) for size in BILLIONS.findall(PurePath(path).name)]
    return max(sizes, default=0.0)
