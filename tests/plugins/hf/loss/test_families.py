"""Families of models that training treats in a way of its own: experts, a part for images, weights of four bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from framework.api.records import TokenRow
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.settings.config import Packing
from tests.plugins.hf.loss.test_loss import assert_same, build, packed, reference
from tests.plugins.hf.packing import drawn
from tests.support import bases
from tests.support.bases import tiny_base
from tests.support.tiny import chat_rows
from tests.support.training import make, opened, train

WINDOW = 24


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(24)), encoding="utf-8")
    return file


def windows(*kinds: str) -> dict[str, Any]:
    """Return the text part of a Gemma 3 with such layers."""
    from tests.support.bases import FAMILIES

    text: dict[str, Any] = FAMILIES["gemma3"](300)["text_config"]
    return {**text, "layer_types": [f"{kind}_attention" for kind in kinds], "sliding_window": WINDOW}


def test_gemma_3_with_its_part_for_images_has_the_loss_of_rows_one_by_one(tmp_path: Path) -> None:
    model = build(tiny_base(tmp_path / "model", "gemma3", text_config=windows("sliding", "full")), "plain")
    assert type(model.get_base_model()).__name__ == "Gemma3ForConditionalGeneration"
    losses = probe(Losses(model.eval(), Packing.tree, dense_mask=True))
    assert losses.head is not None
    model.train()
    some = drawn.make(5, 4, 60)
    assert max(len(row.input_ids) for row in some) > WINDOW
    wanted = reference(model, some)
    assert losses.packing is Packing.tree
    for packing in Packing:
        assert_same(packed(model, losses, Packer(packing, 2, 0, dense_mask=True), some), wanted)


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("gemma3_text", bases.WINDOWS),
        ("gemma4_text", {}),
        ("gpt_oss", {}),
        ("llama", {"model_type": "mistral", "sliding_window": WINDOW}),
        ("llama", {"model_type": "olmo3", **bases.WINDOWS}),
        *(
            pytest.param(family, {}, marks=bases.needs_states)
            for family in ("lfm2", "qwen3_5_text", "granitemoehybrid", "falcon_h1")
        ),
    ],
)
def test_all_packings_have_the_loss_of_rows_one_by_one_where_layers_see_a_window_or_keep_a_state(
    tmp_path: Path, family: str, sizes: dict[str, Any]
) -> None:
    kind = "full" if family == "falcon_h1" else "plain"  # peft does not adapt all of it
    model = build(tiny_base(tmp_path / "model", family, **sizes), kind)
    losses = probe(Losses(model.eval(), Packing.tree, dense_mask=True))
    assert (losses.packing, losses.problem) == (Packing.tree, "")
    model.train()
    start, *ends = (row.input_ids for row in drawn.make(7, 4, 60))
    inner = [*start[:1] * 40, 3]  # a node of one token within another, from which rows continue
    some = [*drawn.make(5, 4, 60), *(TokenRow(inner + end, [*inner, *end]) for end in ([], *ends))]
    wanted = reference(model, some)
    for packing in Packing:
        assert_same(packed(model, losses, Packer(packing, 8, 0, dense_mask=True), some), wanted)


def test_gemma_3_with_its_part_for_images_is_trained_by_a_run(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "gemma3")
    with opened(make(base, rows, tmp_path / "run", "data.validation_split=0.2")) as (model, data):
        assert model.facts["packing"] == "tree"
        before = model.loss(data.validation)
        result, _ = train(model, data, tmp_path)
        assert result.steps == 4
        assert model.loss(data.validation) < before
    assert not [name for name in load_file(tmp_path / "checkpoint" / "adapter_model.safetensors") if "vision" in name]


def test_experts_are_trained_and_answer_afterwards(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "mixtral", num_local_experts=4, router_aux_loss_coef=0.5)
    words = ("data.validation_split=0.2", "trainer.learning_rate=1e-30", "trainer.max_steps=1")
    with opened(make(base, rows, tmp_path / "run", *words)) as (model, data):
        loss = model.loss(data.validation)
        assert model.facts["auxiliary loss"] == "0.5 x load balancing (router_aux_loss_coef in the model's config)"
        result, _ = train(model, data, tmp_path)
        assert result.train_loss > loss + 0.5  # the tokens' losses hardly differ in a random model
        assert model.loss(data.validation) == pytest.approx(loss, rel=1e-5)
        config = model.model.config
        assert (config.output_router_logits, config.router_aux_loss_coef) == (False, 0.5)
        starts = [data.train[number].input_ids[:9] for number in range(2)]
        assert len(model.complete(starts, max_new_tokens=3, batch_size=2)) == 2


def test_the_adapter_of_a_quantized_model_stays_in_fp32(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "llama")
    words = ("quantization=nf4", "trainer.dtype=bf16", "trainer.learning_rate=1e-30", "data.validation_split=0.2")
    with opened(make(base, rows, tmp_path / "run", *words)) as (model, data):
        adapter = {name: weight for name, weight in model.model.named_parameters() if weight.requires_grad}
        before = {name: weight.detach().clone() for name, weight in adapter.items()}
        train(model, data, tmp_path)
        for name, weight in adapter.items():
            assert weight.dtype is torch.float32
            torch.testing.assert_close(weight.detach(), before[name], rtol=0, atol=1e-20)
    assert {part.dtype for part in load_file(tmp_path / "checkpoint" / "adapter_model.safetensors").values()} == {
        torch.float32
    }
