"""hf/machine/precision.py: the same numbers, with less kept."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from framework_plugins.hf.machine.precision import plain_lora, rounded_once, with_gradients


class Gated(nn.Module):
    """Two layers that read one input."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(32, 48) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(x) * self.up(x)  # type: ignore[no-any-return]


def test_gradients_are_computed_where_the_caller_has_switched_them_off() -> None:
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            with with_gradients():
                weight = torch.ones(2, requires_grad=True)
                torch.autograd.backward(weight.square().sum())
            assert not torch.is_grad_enabled()
        assert weight.grad is not None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_inputs_that_are_rounded_once_give_the_same_gradients_and_keep_less(*, checkpointing: bool) -> None:
    torch.manual_seed(0)
    body = Gated().to(torch.bfloat16)
    model = get_peft_model(body, LoraConfig(r=4, target_modules=["gate", "up"], init_lora_weights=False))
    for weight in model.parameters():
        weight.data = weight.data.float() if weight.requires_grad else weight.data
    x = torch.randn(64, 32).bfloat16()

    def made(device: str) -> tuple[int, list[torch.Tensor]]:
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model.zero_grad()
        with rounded_once(model, device), torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each):
            with torch.autocast("cpu", torch.bfloat16):
                again = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False) if checkpointing else model(x)
            again.float().square().sum().backward()
        return sum(kept.values()), [weight.grad for weight in model.parameters() if weight.grad is not None]

    (plainly, expected), (once, gradients) = made("cpu"), made("cuda")
    assert all(torch.equal(one, two) for one, two in zip(gradients, expected, strict=True))
    assert once < plainly or checkpointing
    assert len(expected) == 4
    assert all(layer.cast_input_dtype_enabled for layer in plain_lora(model))


def test_dora_reads_what_it_reads_in_peft() -> None:
    model = get_peft_model(nn.Sequential(nn.Linear(8, 8)), LoraConfig(r=2, target_modules=["0"], use_dora=True))
    assert plain_lora(model) == []
