"""hf/losses.py: in every packing, loss and gradients are those of the rows one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, GraniteConfig, GraniteForCausalLM

from framework.api.records import TokenRow
from framework_plugins.hf.config import Packing
from framework_plugins.hf.fast import install
from framework_plugins.hf.fast.head import LEAST, LOGITS
from framework_plugins.hf.losses import Losses
from framework_plugins.hf.packing.parts import Packer
from tests.plugins.hf.packing import drawn
from tests.support.examples import examples
from tests.support.tiny import tiny_llama

TOLERANCE = 1e-5
"""Of loss and of every gradient, in fp32, as a share of its size."""
FEW = 7 * 2 * drawn.VOCABULARY
"""Logits of seven tokens."""
Made = tuple[float, dict[str, torch.Tensor]]


def build(folder: Path, kind: str) -> Any:
    """Return a model as it is trained: plain, with LoRA, or with LoRA and the layers of the folder `fast`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if kind == "full":
        install.use_branches(model)
        return model.train()
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    if kind == "fast":
        install.use_branches(model)
        install.prepare(config)
    torch.manual_seed(0)
    model = get_peft_model(model, config)
    if kind == "fast":
        install.install(model)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


def reference(model: Any, rows: list[TokenRow]) -> Made:
    """Take the rows one at a time through the model as transformers has it; the loss in fp64 of its logits.

    torch's own cross entropy is off by 1e-5 in fp32: its exponential is a quick one.
    """
    model.zero_grad()
    total = 0.0
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        loss = functional.cross_entropy(logits.double(), torch.tensor(row.labels[1:]), reduction="sum")
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradients(model)


def packed(model: Any, losses: Losses, packer: Packer, rows: list[TokenRow]) -> Made:
    model.zero_grad()
    total = 0.0
    for part in packer(rows):
        loss = losses.sum(part)
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradients(model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(made: Made, wanted: Made) -> None:
    assert made[0] == pytest.approx(wanted[0], rel=TOLERANCE)
    assert made[1].keys() == wanted[1].keys()
    whole = torch.stack([part.norm() for part in wanted[1].values()]).norm()
    for name, part in wanted[1].items():
        # What is 0 but for rounding, the gradient of a key bias say, is measured by the whole.
        scale = max(float(part.norm()), 1e-2 * float(whole))
        assert float((made[1][name] - part).norm()) <= TOLERANCE * scale, name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Losses]]:
    folder = tiny_llama(tmp_path_factory.mktemp("model"))
    made = {}
    for kind in ("plain", "fast", "full"):
        model = build(folder, kind)
        losses = Losses(model.eval(), Packing.tree, masked=kind == "plain")
        assert losses.packing is Packing.tree
        assert losses.masked == (kind == "plain")
        assert losses.head is not None
        made[kind] = (model.train(), losses)
    return made


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=drawn.rows(), size=st.integers(1, 8), kind=st.sampled_from(["plain", "fast", "full"]))
def test_loss_and_every_gradient_are_those_of_one_row_at_a_time(
    models: dict[str, tuple[Any, Losses]], rows: list[TokenRow], size: int, kind: str
) -> None:
    model, losses = models[kind]
    wanted = reference(model, rows)
    for packing in Packing:
        packer = Packer(packing, size, 0, masked=losses.masked)
        assert_same(packed(model, losses, packer, rows), wanted)


def test_eight_by_one_is_four_by_two_is_one_by_eight(models: dict[str, tuple[Any, Losses]]) -> None:
    rows = drawn.make(11, 8, 200)
    model, losses = models["fast"]
    for packing in Packing:
        made = [packed(model, losses, Packer(packing, size, 0), rows) for size in (8, 4, 2, 1)]
        for other in made[1:]:
            assert_same(other, made[0])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_tree_is_the_same_with_checkpointing(tmp_path: Path, *, checkpointing: bool) -> None:
    model = build(tiny_llama(tmp_path), "fast")
    losses = Losses(model.eval(), Packing.tree, masked=False)
    model.train()
    rows = drawn.make(5, 6, 120)
    wanted = reference(model, rows)
    if checkpointing:
        plain = model.get_base_model()
        new = hasattr(plain, "activation_checkpointing_enable")  # the name since transformers 5.24
        enable = plain.activation_checkpointing_enable if new else plain.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    assert_same(packed(model, losses, Packer(Packing.tree, 6, 0), rows), wanted)


def test_a_model_that_scales_its_logits_is_asked_for_them(tmp_path: Path) -> None:
    config = GraniteConfig(
        vocab_size=drawn.VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, logits_scaling=8.0,
    )  # fmt: skip
    torch.manual_seed(0)
    GraniteForCausalLM(config).save_pretrained(tmp_path)
    model = build(tmp_path, "fast")
    losses = Losses(model.eval(), Packing.tree, masked=False)
    assert losses.head is None
    model.train()
    rows = drawn.make(7, 6, 120)
    wanted = reference(model, rows)
    for packing in Packing:
        losses.logits = LOGITS
        made = packed(model, losses, Packer(packing, 3, 0), rows)
        # Here the loss is torch's own.
        assert made[0] == pytest.approx(wanted[0], rel=TOLERANCE)
        assert made[1].keys() == wanted[1].keys()
        losses.logits = FEW
        assert_same(packed(model, losses, Packer(packing, 3, 0), rows), made)


@pytest.mark.parametrize("kind", ["plain", "full"])
def test_the_loss_of_few_logits_at_a_time_is_the_same(models: dict[str, tuple[Any, Losses]], kind: str) -> None:
    model, losses = models[kind]
    rows = drawn.make(11, 8, 200)
    packer = Packer(Packing.tree, 8, 0, masked=losses.masked)
    whole = packed(model, losses, packer, rows)
    losses.logits = FEW
    made = packed(model, losses, packer, rows)
    losses.logits = LOGITS
    assert_same(made, whole)


def test_logits_get_fewer_until_they_are_few(models: dict[str, tuple[Any, Losses]]) -> None:
    _, losses = models["plain"]
    told = [losses.fewer_logits() for _ in range(3)]
    assert told == ["the loss of 8 MiB of logits at a time", "the loss of 2 MiB of logits at a time", ""]
    assert losses.logits == LEAST
    losses.logits = LOGITS


class Leaky(torch.nn.Module):
    """An embedding that adds to each token what stands before it in the sequence, whatever its branch."""

    def __init__(self, plain: torch.nn.Embedding) -> None:
        super().__init__()
        self.plain = plain
        self.weight = plain.weight
        self.num_embeddings = plain.num_embeddings

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.plain(ids)
        return states + functional.pad(states, (0, 0, 1, 0))[:, :-1]


def test_a_model_in_which_tokens_of_other_rows_leak_falls_back_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32).eval()
    model.set_input_embeddings(Leaky(model.get_input_embeddings()))
    losses = Losses(model, Packing.tree, masked=True)
    assert losses.packing is Packing.pad
    assert losses.problem == "with beginnings shared the model gives other states"
    assert "trainer.packing=pad instead of tree: with beginnings shared" in caplog.text
