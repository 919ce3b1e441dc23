"""hf/fused_layers over weights in four bits: steps as peft computes them, with less kept."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import FrameworkError
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened

DROPOUT, DISABLED = "adapter.lora_dropout=0.25", "trainer.fused_layers=disabled"
IDS = torch.randint(3, 60, (2, 48), generator=torch.Generator().manual_seed(9))
WEIGHTS = torch.randn(48, 1, generator=torch.Generator().manual_seed(8)) * torch.arange(1, 65).sin()
Measured = tuple[float, torch.Tensor, int]


def autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16)


def measured(model: Any, context: AbstractContextManager[Any], rows: int = 2) -> Measured:
    """Return the loss, all gradients, and the bytes that are kept beside the weights."""
    own = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}
    storages: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    model.train().zero_grad()
    torch.manual_seed(1)
    ids = IDS[:rows]
    with context, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = model.get_base_model().base_model(input_ids=ids, use_cache=False)[0]
        loss = (states.float() * WEIGHTS).sum()
    kept = sum(size for place, (size, _) in storages.items() if place not in own)
    loss.backward()
    weights = sorted((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    return (
        float(loss.detach()),
        torch.cat([weight.grad.flatten() for _, weight in weights if weight.grad is not None]),
        kept,
    )


def results(
    tmp_path: Path, *words: str, contexts: tuple[Any, ...] = (nullcontext,), widens: bool = False
) -> tuple[str, list[Measured], int]:
    """Return what the run says of its layers, what is measured in each context, and the bytes kept of another row.

    With `widens` all but the first are in fp32, with the same weights.
    """
    tmp_path.mkdir()
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Add 1 and 1.", "output": "2"}\n' * 4, encoding="utf-8")
    plan = make(tiny_llama(tmp_path / "base"), rows, tmp_path / "run", "quantization=nf4", *words)
    with opened(plan) as (model, _):
        for name, weight in model.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        found = [measured(model.model, contexts[0]())]
        more = found[0][2] - measured(model.model, contexts[0](), rows=1)[2]
        for part in model.model.modules() if widens else ():
            if "compute_dtype" in vars(part):
                part.compute_dtype = part.weight.quant_state.dtype = torch.float32
        for weight in model.model.parameters() if widens else ():
            weight.data = weight.data.float() if weight.is_floating_point() else weight.data
        found += [measured(model.model, context()) for context in contexts[1:]]
        return model.facts["layers"], found, more


@pytest.mark.parametrize("words", [(), (DROPOUT,)], ids=["", "dropout"])
def test_a_step_over_nf4_has_the_loss_and_the_gradients_of_peft_and_keeps_less(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    fact, (fused, *_), kept = results(tmp_path / "fused", "trainer.dtype=fp32", *words)
    assert fact == "fused: 14 LoRA, 2 gated MLP, 5 norm" + (", 2 attention" if not words else "")
    fact, (plain, *_), plain_kept = results(tmp_path / "plain", "trainer.dtype=fp32", *words, DISABLED)
    assert fact == "not fused: trainer.fused_layers=disabled"
    assert fused[0] == pytest.approx(plain[0], rel=1e-5)
    assert float((fused[1] - plain[1]).norm() / plain[1].norm()) < 1e-5
    assert kept < 0.8 * plain_kept


def test_in_16_bits_autocast_changes_no_bit_and_the_steps_of_peft_are_met_within_rounding(tmp_path: Path) -> None:
    _, (fused, under, *_), kept = results(tmp_path / "fused", "trainer.dtype=bf16", contexts=(nullcontext, autocast))
    assert fused[0] == under[0]
    torch.testing.assert_close(fused[1], under[1], rtol=0, atol=0)
    _, (plain, exact), plain_kept = results(
        tmp_path / "plain", "trainer.dtype=bf16", DISABLED, contexts=(autocast, nullcontext), widens=True
    )
    ours, theirs = (float((one[1] - exact[1]).norm() / exact[1].norm()) for one in (fused, plain))
    assert ours < 1.2 * theirs < 0.24
    assert kept < 0.6 * plain_kept


def test_dora_is_left_to_peft_and_says_so(tmp_path: Path) -> None:
    assert results(tmp_path / "one", "adapter=dora")[0] == "not fused: DoRA takes norms of whole weights"
    with pytest.raises(FrameworkError, match="fused_layers=enabled: DoRA takes"):
        results(tmp_path / "two", "adapter=dora", "trainer.fused_layers=enabled")
