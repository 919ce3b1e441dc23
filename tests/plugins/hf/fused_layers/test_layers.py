"""hf/fused_layers: each function gives what autograd gives, and leaves to peft what is not plain LoRA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from framework_plugins.hf.fused_layers.install import install
from framework_plugins.hf.fused_layers.low_rank import FusedLora, LowRank, low_rank, project
from framework_plugins.hf.fused_layers.mlp import GatedMLP
from framework_plugins.hf.fused_layers.norm import RMSNorm
from framework_plugins.hf.loss.chunked_cross_entropy import (
    CPU_LOGITS,
    Head,
    logit_chunks,
    logits_at_once,
    summed_cross_entropy,
    summed_cross_entropy_of_logits,
)

Tensor = torch.Tensor
TOKENS, SIZE, INNER = 7, 16, 24
Change = Callable[[Any], None]


class Layers(nn.Module):
    """Three linear layers that read one input, one of them with a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.one, self.two = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, 4, bias=False)
        self.three = nn.Linear(SIZE, INNER, bias=False)


def adapted(model: nn.Module, *, fast: bool, **more: Any) -> Any:
    """Put LoRA on all linear layers, in fp64, with weights that are not zero."""
    torch.manual_seed(0)
    model = model.double().requires_grad_(requires_grad=False)
    config = LoraConfig(
        r=4,
        lora_alpha=12,
        target_modules=[name for name, part in model.named_modules() if isinstance(part, nn.Linear)],
        **more,
    )
    made = inject_adapter_in_model(config, model).double()
    if fast:
        install(made)
    random = torch.Generator().manual_seed(1)
    for name, weight in made.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=random, dtype=torch.float64)
    return made


def gradients(model: nn.Module, out: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    above = torch.randn(out.shape, generator=random, dtype=out.dtype)
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad} | {"x": x}
    return dict(zip(named, torch.autograd.grad(out, [*named.values()], above), strict=True))


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, part in one.items():
        torch.testing.assert_close(part, two[name], rtol=1e-10, atol=1e-12)


def seen() -> torch.Tensor:
    return torch.randn(
        2, TOKENS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    ).requires_grad_()


def test_layers_that_read_one_input_give_what_each_gives_and_its_gradients() -> None:
    model = adapted(Layers(), fast=True)
    weights = [low_rank(part, seen()) for part in (model.one, model.two, model.three)]
    assert all(isinstance(part, LowRank) for part in weights)
    x = seen()
    ours = torch.cat(project(x, tuple(weights)), -1)  # type: ignore[arg-type]
    plain_model = adapted(Layers(), fast=False)
    plain = torch.cat([plain_model.one(x), plain_model.two(x), plain_model.three(x)], -1)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    assert_same(gradients(model, ours, x), gradients(plain_model, plain, x))


def test_an_input_that_needs_no_gradient_gets_none() -> None:
    model = adapted(Layers(), fast=True)
    x = seen().detach()
    model.one(x).sum().backward()
    assert x.grad is None
    assert model.one.lora_A["default"].weight.grad is not None


@pytest.mark.parametrize(
    ("change", "more"),
    [
        (lambda layer: layer.enable_adapters(enabled=False), {}),
        (lambda layer: layer.merge(), {}),
        (lambda _: None, {"use_dora": True}),
        (lambda layer: layer.base_layer.requires_grad_(requires_grad=True), {}),
    ],
    ids=["switched off", "merged", "dora", "trained base"],
)
def test_what_is_not_plain_lora_is_left_to_peft(change: Change, more: dict[str, Any]) -> None:
    made = []
    for fast in (True, False):
        model = adapted(Layers(), fast=fast, **more)
        change(model.one)
        assert isinstance(model.one, FusedLora) == (fast and not more)
        assert low_rank(model.one, seen()) is None
        torch.manual_seed(0)
        made.append(model.one(seen()))
    torch.testing.assert_close(*made, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["layers", "mlp"])
def test_dropout_misses_the_numbers_that_it_misses_in_peft(kind: str) -> None:
    made = []
    for fast in (True, False):
        model: Any = adapted(mlp() if kind == "mlp" else Layers(), fast=fast, lora_dropout=0.5)
        if kind == "mlp" and fast:
            model = GatedMLP(model)
        layers = [model] if kind == "mlp" else [model.one, model.two, model.three]
        x = seen()
        torch.manual_seed(0)
        out = torch.cat([layer(x) for layer in layers], -1)
        made.append({"out": out.detach()} | gradients(model, out, x))
        model.eval()
        assert torch.equal(layers[0](x), layers[0](x))
    assert_same(*made)


def mlp() -> LlamaMLP:
    torch.manual_seed(4)
    return LlamaMLP(LlamaConfig(hidden_size=SIZE, intermediate_size=INNER, num_attention_heads=2))


def test_the_gated_mlp_gives_what_it_gave_and_its_gradients() -> None:
    x = seen()
    model, plain = GatedMLP(adapted(mlp(), fast=True)), adapted(mlp(), fast=False)
    ours, wanted = model(x), plain(x)
    assert type(ours.grad_fn).__name__ == "ViewBackward0"
    assert type(ours.grad_fn.next_functions[0][0]).__name__ == "_GatedBackward"
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    assert_same(gradients(model, ours, x), gradients(plain, wanted, x))


def test_the_gated_mlp_is_the_old_one_where_a_layer_has_no_adapter() -> None:
    x = seen()
    model = adapted(mlp(), fast=True)
    model.up_proj = model.up_proj.base_layer
    torch.testing.assert_close(GatedMLP(model)(x), model(x), rtol=1e-12, atol=1e-12)


def test_the_norm_gives_what_transformers_gives_and_its_gradient() -> None:
    plain = LlamaRMSNorm(SIZE).double().requires_grad_(requires_grad=False)
    plain.weight.data.uniform_(-2, 2)
    norm = RMSNorm(plain, plain.variance_epsilon)
    x = seen()
    ours, wanted = norm(x), plain(x)
    # transformers computes in fp32 whatever comes in
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients(norm, ours, x)["x"], gradients(plain, wanted, x)["x"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, 0.0), (0.125, 0.0), (1.0, 1.5), (3.0, 2.0)])
def test_the_head_gives_weighted_cross_entropy_and_its_gradients(
    *, bias: bool, trained: bool, scale: float, cap: float
) -> None:
    torch.manual_seed(5)
    head = nn.Linear(SIZE, 11, bias=bias).double().requires_grad_(requires_grad=trained)
    states = torch.randn(40, SIZE, dtype=torch.float64).requires_grad_()
    target, share = torch.randint(11, (40,)), torch.tensor([0.0, 1.0, 3.0, 1.0] * 10)
    ours = 0.5 * summed_cross_entropy(states, Head(head, scale, cap), target, share)
    logits = scale * head(states)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    wanted = 0.5 * (functional.cross_entropy(logits, target, reduction="none") * share).sum()
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    learned = [states, *head.parameters()] if trained else [states]
    for one, two in zip(torch.autograd.grad(ours, learned), torch.autograd.grad(wanted, learned), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_the_head_is_the_same_in_one_chunk_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    head = nn.Linear(SIZE, 100, bias=False).requires_grad_(requires_grad=False)
    states = torch.randn(300, SIZE).requires_grad_()
    target, share = torch.randint(100, (300,)), torch.ones(300)
    made = []
    for size in (CPU_LOGITS, 7 * 200):
        monkeypatch.setattr("framework_plugins.hf.loss.chunked_cross_entropy.CPU_LOGITS", size)
        monkeypatch.setattr("framework_plugins.hf.loss.chunked_cross_entropy.CPU_FP32_LOGITS", size // 3)
        loss = summed_cross_entropy(states, Head(head), target, share)
        made.append((loss.detach(), *torch.autograd.grad(loss, states)))
    for one, two in zip(*made, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


ABOVE = 65536.0 / 24
"""What the sum of a step's losses is multiplied by: a scaler's first factor, and the learned tokens of the step."""


def unlikely(vocabulary: int = 2048) -> tuple[Tensor, Tensor, Tensor]:
    """Return states and a head in fp16 by which all tokens but the target are likely to 2e-8, and the targets.

    The smallest number of fp16 is 6e-8. All but the first feature matter for the gradient alone.
    """
    torch.manual_seed(3)
    weight, states = torch.randn(vocabulary, SIZE) * 0.05 + 0.3, torch.randn(24, SIZE) * 0.01
    weight[:, 0], states[:, 0] = 0, 8
    weight[5] = -weight[5]
    weight[5, 0] = 2.25
    return states.half(), weight.half(), torch.full((24,), 5)


def gradients_of(loss: Tensor, *learned: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss * ABOVE, learned)


def apart(ours: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """Return the largest distance between tensors and exact ones, as a share of their size."""
    return max(float((one.double() - two).norm() / two.norm()) for one, two in zip(ours, exact, strict=True))


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_fp16_loses_no_gradient_that_a_scaler_would_have_raised(rows: int, stored: torch.dtype) -> None:
    states, weight, target = unlikely()
    share, found = torch.tensor([1.0, 1.0, rows] * 8), []
    for dtype in (stored, torch.float64):
        head = nn.Linear(SIZE, len(weight), bias=False, dtype=dtype)
        head.weight.data, x = weight.to(dtype), states.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=dtype is torch.float32):
            loss = summed_cross_entropy(x, Head(head), target, share)
        found.append(gradients_of(loss, x, head.weight))
    assert all(part.dtype is stored for part in found[0])
    assert apart(*found) < 0.02  # of logits about 18, whose last digit is 1/64


def test_fp16_loses_no_gradient_of_logits_that_a_model_made() -> None:
    (states, weight, target), share = unlikely(), torch.ones(24)
    made = functional.linear(states, weight)
    ours, wanted = made.clone().requires_grad_(), made.double().requires_grad_()
    loss = summed_cross_entropy_of_logits(ours * 1, target, share)
    exact = (functional.cross_entropy(wanted, target, reduction="none") * share).sum()
    (one,), (two,) = gradients_of(loss, ours), gradients_of(exact, wanted)
    assert apart([one], [two]) < 0.02
    assert apart([one[:, 6:]], [two[:, 6:]]) < 0.02  # none of them is the target


def test_logits_of_a_model_give_the_same_in_their_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework_plugins.hf.loss.chunked_cross_entropy.CPU_FP32_LOGITS", 7 * 44)
    torch.manual_seed(5)
    states = torch.randn(40, 11, dtype=torch.float64).requires_grad_()
    target, share = torch.randint(11, (40,)), torch.tensor([0.0, 1.0, 3.0, 1.0] * 10)
    logits = states * 2
    ours = 0.5 * summed_cross_entropy_of_logits(logits, target, share)
    wanted = 0.5 * (functional.cross_entropy(states * 2, target, reduction="none") * share).sum()
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    one, two = (torch.autograd.grad(loss, states)[0] for loss in (ours, wanted))
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    assert ours.grad_fn is not None


def test_the_head_computes_no_gradient_that_nobody_asks_for() -> None:
    head = nn.Linear(SIZE, 11).requires_grad_(requires_grad=False)
    states = torch.randn(5, SIZE)
    assert not summed_cross_entropy(states, Head(head), torch.zeros(5, dtype=torch.long), torch.ones(5)).requires_grad


def test_a_gpu_takes_enough_rows_for_its_products_and_a_cpu_as_many_as_stay_in_its_cache() -> None:
    """Whatever is not a CPU counts as a GPU: a tensor without memory shows what is done there."""
    counted = {}
    for device in ("cpu", "meta"):
        head = nn.Linear(SIZE, 128_256, bias=False, device=device)
        logits = logits_at_once(torch.device(device))
        rows, _ = next(logit_chunks(torch.empty(600, SIZE, device=device), Head(head), logits))
        counted[device] = rows.stop, logits // (2 * head.out_features)
    assert counted == {"cpu": (16, 130), "meta": (261, 523)}
