"""Trainings on a card: memory that runs out, fp16, a resume, checkpointing where the plan has it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from framework.api import Step, TrainResult
from framework.api.training import StepControl, TrainRun
from framework_gpu_tests.short_memory import short_memory
from framework_gpu_tests.training import make, opened, train
from framework_plugins.hf.machine import hardware, precision
from framework_plugins.hf.machine.out_of_memory import free_memory
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.settings.config import Dtype

EXACT = ("trainer.attention=eager", "trainer.packing=pad")
"""Fused attention adds in another order each time in its backward pass; these products come out the same."""
ALIKE = 0.02
"""How far losses may lie apart that bf16 or fp16 rounds in another order, as a share."""


def losses(steps: list[Step]) -> list[float]:
    return [step.loss for step in steps]


def reserved() -> int:
    """Return the bytes that the allocator holds once it has given back what it can."""
    free_memory()
    return torch.cuda.memory_reserved()


@contextmanager
def too_little_for_eight_rows(model: HFModel, device: str, needed: int) -> Iterator[None]:
    """Leave memory for a pass of few rows: on a card by its allocator's limit, on a CPU by refusing larger passes.

    Args:
        model: the loaded model.
        device: where it is.
        needed: bytes that passes of eight rows were seen to need on a card beside the model.
    """
    if device == "cpu":
        with short_memory(model, lambda one: not one.training or one.shape[0] <= 2):
            yield
        return
    limit = reserved() + 0.5 * needed
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_training_for_which_there_is_no_room_finishes_with_the_same_losses(
    base: Path, tmp_path: Path, device: str
) -> None:
    """On a card the allocator refuses: rows of a thousand tokens, whose scores and states need most of the memory."""
    turns = 150 if device == "cuda" else 2
    made = [
        {"instruction": f"Which number follows {number}? " * turns, "input": "", "output": f"{number + 1}"}
        for number in range(8)
    ]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    words = (
        *EXACT, f"trainer.device={device}", "trainer.per_device_train_batch_size=8", "trainer.max_steps=1",
        "trainer.gradient_accumulation_steps=1", "trainer.gradient_checkpointing=disabled",
        "trainer.learning_rate=1e-4", "audit=[]", "data.validation_split=0", "trainer.max_seq_length=2048",
        "trainer.tokens_per_pass=16384",  # else the plan would see what is free
    )  # fmt: skip
    with opened(make(base, rows, tmp_path / "free", *words)) as (model, data):
        before = reserved() if device == "cuda" and model.model else 0
        free = train(model, data, tmp_path / "free")
        needed = torch.cuda.max_memory_reserved() - before if device == "cuda" else 0
    assert free[0].oom_fallbacks == []
    with opened(make(base, rows, tmp_path / "limited", *words)) as (model, data):
        assert model.model is not None  # loaded before memory is short
        with too_little_for_eight_rows(model, device, needed):
            limited = train(model, data, tmp_path / "limited")
    assert limited[0].oom_fallbacks
    assert re.fullmatch(r"training step 1: [\d,]+ tokens in a pass instead of 16,384", limited[0].oom_fallbacks[0])
    assert losses(limited[1]) == pytest.approx(losses(free[1]), rel=1e-3)


def test_memory_that_runs_out_is_known_by_its_error(device: str) -> None:
    from framework.api import is_out_of_memory

    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(1 << 50, device=device)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "bf16"), pytest.param("cuda", "fp16", marks=pytest.mark.gpu)])
def test_a_training_in_16_bits_is_that_in_32(base: Path, rows: Path, tmp_path: Path, device: str, dtype: str) -> None:
    """In fp16 its gradients are scaled, which leaves the losses and the norm that is reported as they are.

    The first factor of the scaler may be too large: then an update is left out, and the factor halved.
    """
    made = {}
    for name in ("fp32", dtype):
        words = (f"trainer.device={device}", f"trainer.dtype={name}", "trainer.packing=pad", "audit=[]",
                 "trainer.max_steps=3", "data.validation_split=0")  # fmt: skip
        with opened(make(base, rows, tmp_path / name, *words)) as (model, data):
            assert model.machine.dtype is hardware.DTYPES[Dtype(name)]
            made[name] = train(model, data, tmp_path / name)[1]
    half, wide = made[dtype], made["fp32"]
    assert half[0].loss == pytest.approx(wide[0].loss, rel=ALIKE)
    left_out = [step.step for step in half if not math.isfinite(step.grad_norm)]
    assert left_out == [] if dtype == "bf16" else len(left_out) < len(half)
    if not left_out:
        assert losses(half) == pytest.approx(losses(wide), rel=ALIKE)
        assert half[0].grad_norm == pytest.approx(wide[0].grad_norm, rel=5 * ALIKE)


class Ended(Exception):  # noqa: N818 - not an error of the program
    """What ends a training in these tests."""


def test_a_resumed_training_is_bit_by_bit_the_one_that_went_through(
    base: Path, rows: Path, tmp_path: Path, device: str
) -> None:
    """With dropout, in bf16: weights, optimizer and random numbers of the card come back."""
    words = (
        *EXACT, f"trainer.device={device}", "trainer.dtype=bf16", "trainer.save_steps=2", "adapter.lora_dropout=0.1",
        "audit=[]", "data.validation_split=0", "trainer.max_steps=3",
    )  # fmt: skip

    def run(name: str, end: int | None) -> tuple[TrainResult | None, list[Step]]:
        told: list[Step] = []

        def on_step(step: Step) -> StepControl:
            told.append(step)
            if step.step == end:
                raise Ended
            return StepControl()

        folder = tmp_path / name
        result = None
        with opened(make(base, rows, folder, *words)) as (model, data), suppress(Ended):
            to = TrainRun(folder / "checkpoint", folder / "scratch", on_step)
            result = model.train(data.train, data.validation, to)
        return result, told

    def bare(steps: list[Step]) -> list[Step]:
        return [replace(step, seconds=0.0) for step in steps]

    _, whole = run("whole", None)
    assert run("ended", 3)[0] is None  # before it is saved: the checkpoint of step 2 is left
    _, rest = run("ended", None)
    assert bare(rest)[-1] == bare(whole)[-1]
    weights = [load_file(tmp_path / name / "checkpoint" / "adapter_model.safetensors") for name in ("whole", "ended")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_activations_are_computed_again_only_where_memory_is_short(
    base: Path, rows: Path, tmp_path: Path, device: str
) -> None:
    words = (f"trainer.device={device}", "trainer.max_steps=1", "audit=[]", "data.validation_split=0")
    with opened(make(base, rows, tmp_path / "room", *words)) as (model, data):
        train(model, data, tmp_path / "room")
        only = "only in passes of more than" if device == "cuda" else "off"
        assert model.facts[hardware.CHECKPOINTING].startswith(only)
        assert ("are needed" in model.facts.get("passes", "")) == (device == "cuda")
    if device == "cuda":  # what is left is less than the half GiB that is kept for CUDA itself
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((reserved() + (400 << 20)) / total)
        with opened(make(base, rows, tmp_path / "short", *words)) as (model, data):
            result, _ = train(model, data, tmp_path / "short")
            assert model.facts[hardware.CHECKPOINTING] == "on"
            assert result.oom_fallbacks == []


def test_answers_of_a_batch_are_those_of_one_prompt_at_a_time(
    base: Path, rows: Path, tmp_path: Path, device: str
) -> None:
    """In fp32, where a batch decides near ties as a single row does."""
    with opened(make(base, rows, tmp_path / "run", f"trainer.device={device}")) as (model, _):
        starts = [model.tokenize(f"Which number follows {number}?") for number in (1, 20, 300)]
        made = [[answer.ids for answer in model.complete(starts, max_new_tokens=8, batch_size=size)] for size in (3, 1)]
    assert made[0] == made[1]
    assert all(made[0])


def test_products_in_fp32_are_coarser_within_a_training_pass_alone(device: str) -> None:
    torch.manual_seed(0)
    left, right = (torch.randn(512, 512, device=device) for _ in range(2))
    exact = left.double() @ right.double()

    def off(product: torch.Tensor) -> float:
        return float((product - exact).norm() / exact.norm())

    before = off(left @ right)
    with precision.tf32(device):
        inside = off(left @ right)
    assert off(left @ right) == before < 1e-5
    if device == "cuda" and torch.cuda.get_device_capability() >= hardware.AMPERE:
        assert 1e-5 < inside < 1e-2
    else:
        assert inside == before
