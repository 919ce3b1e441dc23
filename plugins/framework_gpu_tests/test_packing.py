"""In bf16 on an NF4 base, loss and gradients of every packing and attention are those of rows one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from framework.api import installed
from framework.api.training import TokenRow
from framework_gpu_tests import drawn
from framework_plugins.hf.fused_layers.install import use_branches
from framework_plugins.hf.loss.chunked_cross_entropy import Head, logits_at_once, summed_cross_entropy
from framework_plugins.hf.loss.loss import Losses, to_device
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.hardware import AMPERE
from framework_plugins.hf.machine.precision import to_eval_mode
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Attention, Packing

NEAR = 0.05
"""How far all gradients together may lie apart, as a share of their size: bf16 has seven bits behind the point."""
Made = tuple[float, torch.Tensor]
Models = Callable[..., Any]


@pytest.fixture(scope="module")
def models(base: Path) -> Models:
    """Return what gives a model in NF4 with LoRA, as it is trained; made once for each attention and device."""

    @functools.cache
    def made(device: str, attention: Attention, *, along: bool = False) -> Any:
        settings = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )  # fmt: skip
        plain = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.bfloat16, quantization_config=settings, attn_implementation=attention.value,
            device_map={"": device},
        )  # fmt: skip
        if along:
            use_branches(plain)
        model = get_peft_model(plain, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                torch.manual_seed(len(name))
                weight.data = (0.05 * torch.randn(weight.shape)).to(device)  # drawn on the CPU for every device
        return model

    return made


def gradient(model: Any) -> torch.Tensor:
    """Return all gradients in one row, on the CPU."""
    return torch.cat([weight.grad.flatten().float().cpu() for weight in model.parameters() if weight.grad is not None])


def one_by_one(model: Any, rows: list[TokenRow], device: str) -> Made:
    """Take the rows through the model as transformers has it."""
    model.zero_grad()
    total = 0.0
    for row in rows:
        with torch.autocast(device, torch.bfloat16):
            logits = model(input_ids=torch.tensor([row.input_ids], device=device), use_cache=False).logits[0, :-1]
        labels = torch.tensor(row.labels[1:], device=device)
        loss = functional.cross_entropy(logits.float(), labels, reduction="sum")
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradient(model)


def packed(model: Any, losses: Losses, rows: list[TokenRow], device: str) -> Made:
    """Take the rows through the model in parts of at most three."""
    model.zero_grad()
    total = 0.0
    for part in Packer(losses.packing, 3, 0, dense_mask=losses.dense_mask, share=losses.share)(rows):
        with torch.autocast(device, torch.bfloat16):
            loss = losses.sum(to_device(part, device))
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradient(model)


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


def check(model: Any, packing: Packing, device: str, *, dense_mask: bool = True, share: bool = True) -> None:
    rows = drawn.make(3, 6, 90)
    losses = probe(Losses(to_eval_mode(model, device), packing, dense_mask=dense_mask, share=share))
    assert (losses.packing, losses.dense_mask) == (packing, dense_mask), losses.problem
    model.train()
    loss, made = packed(model, losses, rows, device)
    wanted_loss, wanted = one_by_one(model, rows, device)
    assert loss == pytest.approx(wanted_loss, rel=0.01)
    assert apart(made, wanted) < NEAR
    # What is asked is sharp enough to see one row of six that is not learned from.
    assert apart(one_by_one(model, rows[:-1], device)[1], wanted) > 2 * NEAR


@pytest.mark.parametrize(
    ("packing", "attention"),
    [
        (Packing.none, Attention.sdpa),
        (Packing.pad, Attention.sdpa),
        (Packing.tree, Attention.sdpa),
        (Packing.none, Attention.eager),
        (Packing.pad, Attention.eager),
    ],
)
def test_loss_and_gradients_are_those_of_rows_one_by_one(
    models: Models, device: str, packing: Packing, attention: Attention
) -> None:
    """A tree is left out with eager attention, which adds the mask and so needs another one: it is padded there."""
    check(models(device, attention), packing, device)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in what it imports to compile
@pytest.mark.parametrize("share", [True, False])
def test_trees_and_rows_side_by_side_along_their_branches_give_those_too(
    models: Models, device: str, *, share: bool
) -> None:
    """On a GPU by FlexAttention's block mask."""
    if device == "cuda" and installed("triton") is None:
        pytest.skip("triton is not installed")
    check(models(device, Attention.sdpa, along=True), Packing.tree, device, dense_mask=False, share=share)


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)])
def test_flash_attention_gives_those_of_rows_one_by_one_too(models: Models, device: str, packing: Packing) -> None:
    if installed("flash-attn") is None or torch.cuda.get_device_capability() < AMPERE:
        pytest.skip("flash-attn is not installed, or this card has no kernels of it")
    tree = packing is Packing.tree
    check(models(device, Attention.flash_attention_2), packing, device, dense_mask=not tree, share=not tree)


def test_the_head_in_pieces_is_the_cross_entropy_of_all_logits(device: str) -> None:
    """With a large vocabulary on a card, so that it is cut into pieces of the card's own size."""
    vocabulary, rows = (64_000, 2500) if device == "cuda" else (2000, 64)
    head = torch.nn.Linear(128, vocabulary, bias=False).requires_grad_(requires_grad=False)
    torch.manual_seed(1)
    states, target = torch.randn(rows, 128), torch.randint(vocabulary, (rows,))
    share = torch.rand(rows)
    wide = states.to(device).double().requires_grad_()
    logits = functional.linear(wide, head.weight.to(device).double())
    wanted = (functional.cross_entropy(logits, target.to(device), reduction="none") * share.to(device)).sum()
    torch.autograd.backward(wanted)
    head, half = head.to(device, torch.bfloat16), states.to(device, torch.bfloat16).requires_grad_()
    size = logits_at_once(half.device)
    assert device == "cpu" or rows > size // (2 * vocabulary)
    made = summed_cross_entropy(half, Head(head), target.to(device), share.to(device), size)
    torch.autograd.backward(made)
    assert made.item() == pytest.approx(wanted.item(), rel=0.01)
    assert wide.grad is not None
    assert half.grad is not None
    assert apart(half.grad.double(), wide.grad) < NEAR
