"""unsloth/footprint.py: in what its memory differs from that of trainer=hf."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.hooks.session import current
from framework.memory import Attention, MemorySettings, Shape
from framework.plan.fit import PlanContext
from framework.rundir.known import KnownRows
from framework.util.gpus import named
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.unsloth.footprint import IMPORT_BYTES

SHAPE = Shape(hidden=4096, layers=32, heads=32, kv_heads=8, head_dim=128, intermediate=14336, vocab=128256, tied=False)


def told(trainer: str, gpu: str | None, tmp_path: Path, *words: str, shape: Shape = SHAPE) -> MemorySettings:
    plan = testing.plan([f"trainer={trainer}", "stages=[plan]", *words], run_dir=tmp_path / "run")
    rows = KnownRows(100, 51_200, 1000, 512, 512, shared=64)
    # `hf` describes trainers that build on it, too: what the plugin of the trainer says is taken.
    return PlanContext(plan, shape, named(gpu) if gpu else None, rows, current()).settings


def test_on_a_gpu_rows_are_padded_and_states_lie_in_the_cpus_memory(tmp_path: Path) -> None:
    hf, unsloth = told("hf", "rtx4090", tmp_path), told("unsloth", "rtx4090", tmp_path)
    assert (hf.offloaded, hf.varied, unsloth.offloaded, unsloth.varied) == (False, False, True, True)
    padded = told("hf", "rtx4090", tmp_path, "trainer.packing=pad")
    # The size of a pass is not decided by the plan; of two rows, one is padded and masked.
    two = dataclasses.replace(padded, rows=2, length=512, masked=True, attention=Attention.sdpa)
    assert unsloth == dataclasses.replace(two, offloaded=True, checkpointing=True, attention_choice="")


def test_without_checkpointing_nothing_is_moved(tmp_path: Path) -> None:
    assert not told("unsloth", "rtx4090", tmp_path, "trainer.gradient_checkpointing=disabled").offloaded


def test_on_a_cpu_it_is_as_trainer_hf_with_what_is_imported(tmp_path: Path) -> None:
    hf, unsloth = told("hf", None, tmp_path), told("unsloth", None, tmp_path)
    assert unsloth == dataclasses.replace(hf, process=hf.process + IMPORT_BYTES)


def test_experts_in_few_bits_are_not_estimated(tmp_path: Path) -> None:
    experts = Shape.from_config(CONFIGS["Qwen/Qwen3-30B-A3B"])
    with pytest.raises(FrameworkError, match="trainer=unsloth quantizes experts in another way"):
        told("unsloth", "rtx4090", tmp_path, "quantization=int8", "plan.gpu=rtx4090", shape=experts)
    assert told("unsloth", "rtx4090", tmp_path, shape=experts).offloaded
