"""Where memory runs out, the same training comes out in smaller pieces."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from framework.util.errors import FrameworkError
from framework_plugins.hf.packing.parts import TOKEN_MULTIPLE
from tests.support.short_memory import DROPOUT, ONE_BY_EIGHT, PADDED, PLAIN, Made, Pass, error, trained
from tests.support.training import make, opened, train

Untroubled = Callable[..., Made]
SLOW = "trainer.learning_rate=0.001"
"""Adam makes much of a gradient that is all rounding: a small rate keeps its effect small."""


@pytest.mark.parametrize(("adapter", "packing", "late"), [("lora", "tree", False), ("full", "pad", True)])
def test_fewer_rows_in_a_pass_are_the_same_training(
    untroubled: Untroubled, base: Path, uneven_rows: Path, tmp_path: Path, packing: str, adapter: str, *, late: bool
) -> None:
    words = (*ONE_BY_EIGHT, f"adapter={adapter}", f"trainer.packing={packing}", SLOW)
    whole = untroubled(*words)
    room = -(-whole.longest // TOKEN_MULTIPLE) * TOKEN_MULTIPLE
    assert room < max(one.tokens for one in whole.seen.passes)
    made = trained(
        base, uneven_rows, tmp_path / "cut", *words, fits=lambda one, step: step < 2 or one.tokens <= room, late=late
    )
    assert made.seen.refused
    assert made.result.oom_fallbacks
    assert all("row" in fallback and "instead of" in fallback for fallback in made.result.oom_fallbacks)
    assert made.result.oom_fallbacks[0].startswith("training step ")
    assert whole.result.oom_fallbacks == []
    made.all_but_rounding(whole)


def test_checkpointing_is_the_same_training(
    untroubled: Untroubled, base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    """Where rows go one by one, it is the first fallback; with it dropout falls on the same places."""
    words = (*ONE_BY_EIGHT, PLAIN, DROPOUT)
    whole = untroubled(*words)
    made = trained(base, uneven_rows, tmp_path / "cut", *words, fits=lambda one, step: step < 2 or one.checkpointing)
    assert made.result.oom_fallbacks == ["training step 2: gradient checkpointing"]
    made.exactly(whole)


def test_the_step_starts_again_with_the_random_numbers_that_it_had(
    untroubled: Untroubled, base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    """So what came before the error in a step does not matter: it is as if more rows had never been tried."""
    half = ("trainer.per_device_train_batch_size=4", "trainer.gradient_accumulation_steps=2", PADDED, DROPOUT)
    wanted = untroubled(*half)
    words = (*ONE_BY_EIGHT, PADDED, DROPOUT)
    first = trained(base, uneven_rows, tmp_path / "first", *words, fits=lambda one, _: one.shape[0] <= 4, late=True)
    assert first.result.oom_fallbacks == ["training step 1: 4 rows in a pass instead of 8"]
    first.exactly(wanted)
    # The second pass of a step, after one that went through.
    second = trained(
        base,
        uneven_rows,
        tmp_path / "second",
        *half,
        fits=lambda one, _: one.shape[0] <= 2 or one.number % 2,
        late=True,
    )
    straight = untroubled(*half[2:], "trainer.per_device_train_batch_size=2")
    assert second.result.oom_fallbacks == ["training step 1: 2 rows in a pass instead of 4"]
    second.exactly(straight)


def test_every_rung_is_climbed_in_its_order(
    untroubled: Untroubled, base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    words = (*ONE_BY_EIGHT, PADDED, SLOW)
    whole = untroubled(*words)
    made = trained(
        base, uneven_rows, tmp_path / "cut", *words, fits=lambda one, step: step < 2 or one.logits <= 1 << 21
    )
    assert made.result.oom_fallbacks == [
        f"training step 2: {fallback}"
        for fallback in (
            "4 rows in a pass instead of 8", "2 rows in a pass instead of 4", "1 row in a pass instead of 2",
            "gradient checkpointing", "the loss of 8 MiB of logits at a time", "the loss of 2 MiB of logits at a time",
        )
    ]  # fmt: skip
    made.all_but_rounding(whole)


def test_batches_that_were_packed_ahead_by_workers_are_packed_again(
    untroubled: Untroubled, base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    words = (*ONE_BY_EIGHT, PADDED, SLOW)
    whole = untroubled(*words)
    workers = "trainer.dataloader_num_workers=1"
    made = trained(
        base, uneven_rows, tmp_path / "cut", *words, workers, fits=lambda one, step: step < 2 or one.shape[0] <= 2
    )
    assert len(made.seen.refused) == 2
    made.all_but_rounding(whole)


def test_the_memory_of_a_failed_try_is_free_before_the_next(base: Path, uneven_rows: Path, tmp_path: Path) -> None:
    kept: list[weakref.ref[torch.Tensor]] = []
    held: list[bool] = []
    with opened(make(base, uneven_rows, tmp_path, *ONE_BY_EIGHT, PADDED)) as (model, data):
        first, last = model.open_losses().passes.losses.body.layers

        def note(_: Any, __: Any, out: Any) -> None:
            out = out[0] if isinstance(out, tuple) else out
            if out.requires_grad:
                held.append(any(ref() is not None for ref in kept))
                kept[:] = [weakref.ref(out)]

        def refuse(module: Any, inputs: Any) -> None:
            if module.training and inputs[0].shape[0] > 2:
                raise error()

        hooks = [first.register_forward_hook(note), last.register_forward_pre_hook(refuse)]
        result, _ = train(model, data, tmp_path)
        for hook in hooks:
            hook.remove()
    assert len(result.oom_fallbacks) == 2
    assert len(held) > 4
    assert not any(held)


def test_after_the_last_rung_the_run_ends_with_what_was_tried_and_leaves_nothing(
    base: Path, uneven_rows: Path, tmp_path: Path
) -> None:
    with pytest.raises(FrameworkError) as caught:
        trained(base, uneven_rows, tmp_path, *ONE_BY_EIGHT, PADDED, fits=lambda _, step: step < 2)
    told = str(caught.value)
    assert told.startswith("out of memory in training step 2: OutOfMemoryError: CUDA out of memory.")
    assert "Tried before: training step 2: 4 rows in a pass instead of 8; " in told
    assert "gradient checkpointing; " in told
    assert told.endswith("Lower trainer.max_seq_length, lower adapter.r, set quantization=nf4, or take a smaller model")
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert caught.value.__cause__.__traceback__ is not None
    assert list(tmp_path.iterdir()) == []


def test_with_fail_nothing_is_tried_again(base: Path, uneven_rows: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    words = (*ONE_BY_EIGHT, "trainer.on_out_of_memory=fail")
    with pytest.raises(FrameworkError, match=r"out of memory: .*\n.*on_out_of_memory=retry does the first by itself"):
        trained(base, uneven_rows, tmp_path, *words, fits=lambda _, step: seen.append(step))
    assert seen == [1]


def test_an_update_that_ran_out_is_never_made_again(base: Path, uneven_rows: Path, tmp_path: Path) -> None:
    updates: list[int] = []

    def refuse(*_: Any) -> None:
        updates.append(1)
        if len(updates) == 2:
            raise error()

    hook = register_optimizer_step_pre_hook(refuse)
    try:
        with pytest.raises(FrameworkError, match=r"(?s)in the update of step 2: .*saves nothing.*adamw_8bit") as caught:
            trained(base, uneven_rows, tmp_path)
    finally:
        hook.remove()
    assert len(updates) == 2
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert list(tmp_path.iterdir()) == []


def test_another_error_is_passed_on(base: Path, uneven_rows: Path, tmp_path: Path) -> None:
    def broken(_: Pass, __: int) -> bool:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trained(base, uneven_rows, tmp_path, fits=broken)
