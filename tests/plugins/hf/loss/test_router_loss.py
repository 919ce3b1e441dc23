"""hf/loss/router_loss.py: the auxiliary loss of experts is that of transformers, however rows are packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, PreTrainedConfig, Qwen3MoeConfig
from transformers.models.mixtral import modeling_mixtral

from framework.api.records import TokenRow
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.packing.tree import plant
from framework_plugins.hf.settings.config import Packing
from tests.plugins.hf.loss.test_loss import SMALL, assert_same, build, gradients, saved
from tests.plugins.hf.packing import drawn

SPARSE: dict[str, PreTrainedConfig] = {
    "mixtral": MixtralConfig(**SMALL, num_local_experts=4, router_aux_loss_coef=0.5),
    "qwen3": Qwen3MoeConfig(
        **SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, router_aux_loss_coef=0.5
    ),
}
ROWS = drawn.make(5, 6, 120)


def losses_of(folder: Path, name: str) -> tuple[Any, Losses]:
    model = build(saved(folder, SPARSE[name]), "full")
    losses = Losses(model.eval(), Packing.tree, masked=False)
    return model.train(), losses


def means(model: Any, losses: Losses, packer: Packer, rows: list[TokenRow] = ROWS) -> tuple[float, Any]:
    """Return the loss of a step, and its gradients."""
    model.zero_grad()
    total = 0.0
    for part in packer(rows):
        loss = losses.mean(part)
        torch.autograd.backward(loss)
        total += loss.item()
    return total, gradients(model)


@pytest.mark.parametrize("name", SPARSE)
def test_a_step_in_one_pass_has_the_loss_of_transformers(tmp_path: Path, name: str) -> None:
    model, losses = losses_of(tmp_path, name)
    assert losses.packing is Packing.tree
    assert losses.auxiliary == "0.5 x load balancing (router_aux_loss_coef in the model's config)"
    (part,) = Packer(Packing.pad, 6, 0)(ROWS)
    assert not bool(part["attention_mask"].all())
    rows = sorted(ROWS, key=lambda row: len(row.input_ids))
    longest = part["input_ids"].shape[1]
    labels = torch.tensor([row.labels + [-100] * (longest - len(row.labels)) for row in rows])
    inputs = {key: part[key] for key in ("input_ids", "attention_mask")}
    out = model(**inputs, labels=labels, output_router_logits=True, use_cache=False)
    assert 0.5 * float(out.aux_loss.detach()) > 0.5
    model.zero_grad()
    torch.autograd.backward(out.loss)
    wanted = out.loss.item(), gradients(model)
    for packing in (Packing.pad, Packing.tree):  # tokens that rows of the tree share count once for each of them
        packer = Packer(packing, 6, 0)
        assert len(packer(ROWS)) == 1
        assert_same(means(model, losses, packer), wanted)
    assert max(plant(ROWS).times) > 1


def test_checkpointing_changes_nothing_of_it(tmp_path: Path) -> None:
    model, losses = losses_of(tmp_path, "mixtral")
    wanted = means(model, losses, Packer(Packing.tree, 6, 0))
    new = hasattr(model, "activation_checkpointing_enable")  # the name since transformers 5.24
    (model.activation_checkpointing_enable if new else model.gradient_checkpointing_enable)({"use_reentrant": False})
    assert_same(means(model, losses, Packer(Packing.tree, 6, 0)), wanted)


def test_passes_are_weighted_by_their_tokens_and_the_validation_loss_is_that_of_the_tokens(tmp_path: Path) -> None:
    model, losses = losses_of(tmp_path, "mixtral")
    parts = Packer(Packing.none, 1, 0)(ROWS)
    with torch.no_grad():
        alone = [(losses.sum(part), losses.mean(part)) for part in parts]
        weighted = 0.0
        for part in parts:
            aux = model(input_ids=part["input_ids"], output_router_logits=True, use_cache=False).aux_loss
            weighted += float(aux) * part["tokens"] / sum(len(row.input_ids) for row in ROWS)
    tokens = sum(float(total) for total, _ in alone) / parts[0]["count"]
    assert sum(float(mean) for _, mean in alone) == pytest.approx(tokens + 0.5 * weighted, rel=1e-5)


def test_one_of_an_unknown_kind_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, SPARSE["mixtral"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain = model.forward

    def other(*ids: Any, **named: Any) -> Any:
        out = plain(*ids, **named)
        out.aux_loss = out.aux_loss and 2 * out.aux_loss
        return out

    model.forward = other
    losses = Losses(model, Packing.pad, masked=True)
    assert losses.auxiliary == "left out"
    assert "the auxiliary loss of MixtralForCausalLM is left out" in caplog.text
    assert losses.head is not None
    found = Losses(model, Packing.pad, masked=True, found=losses.found)
    assert found.auxiliary == losses.auxiliary
    monkeypatch.delattr(modeling_mixtral, "load_balancing_loss_func")
    assert Losses(model, Packing.pad, masked=True).auxiliary == losses.auxiliary
