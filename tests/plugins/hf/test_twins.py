"""Tiny twins of families with experts, states, windows and other parts: trained, restored and merged exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from framework import FrameworkError, Plan
from framework_plugins.exports.merge.merging import merge
from framework_plugins.hf.model import HFModel
from framework_plugins.lib.auto_class import auto_class
from tests.support import twins
from tests.support.bases import tiny_base
from tests.support.training import make, opened, train

ALL = "adapter.experts=all"
NONE = "experts: no, router: no"
TOWERS = "model.vision_tower, model.multi_modal_projector"
TWINS = {
    "qwen3_moe": ("", f"8 of 8 linear layers; {NONE}"),
    "qwen3_moe all": (ALL, "8 of 8 linear layers; experts: yes, router: no"),
    "qwen3_5_text": ("", ""),
    "qwen3_5_moe_text all": (ALL, "17 of 17 linear layers; experts: yes, router: no"),
    "gemma4_text": ("", ""),
    "gpt_oss all": (ALL, "8 of 8 linear layers; experts: yes, router: no"),
    "lfm2": ("", ""),
    "granitemoehybrid": ("", f"10 of 10 linear layers; {NONE}"),
    "deepseek_v3": (
        "",
        f"10 of 16 linear layers; {NONE}; peft does not adapt down_proj, gate_proj, up_proj of this family",
    ),
    "mistral3": ("", f"14 of 14 linear layers; left out: {TOWERS}, which read no text"),
    "falcon_h1": ("", "16 of 18 linear layers; peft does not adapt out_proj of this family"),
}  # fmt: skip
"""What is set, and what the run says of its adapter."""
IDS = torch.arange(3, 40)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS, use_cache=False).logits
    return found


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_is_trained_restored_and_merged_exactly(tmp_path: Path, rows: Path, twin: str) -> None:
    setting, fact = TWINS[twin]
    base = tiny_base(tmp_path / "model", twin.partition(" ")[0])
    plan = make(base, rows, tmp_path / "run", "trainer.max_steps=2", *([setting] if setting else []))
    with opened(plan) as (model, data):
        assert model.facts.get("adapted", "") == fact
        result, _ = train(model, data, tmp_path)
        assert result.steps == 2
        trained = logits(model.model)
        with model.as_base():
            base_logits = logits(model.model)
    assert (trained - base_logits).abs().max() > 1e-3
    again = restored(plan, tmp_path / "checkpoint")
    torch.testing.assert_close(again, trained, rtol=0, atol=1e-5)
    merge(plan, tmp_path / "checkpoint", tmp_path / "merged")
    kind = auto_class(transformers, AutoConfig.from_pretrained(tmp_path / "merged").to_dict())
    merged = kind.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(merged), trained, rtol=0, atol=1e-5)


def restored(plan: Plan, checkpoint: Path) -> torch.Tensor:
    with opened(plan) as (model, _):
        assert isinstance(model, HFModel)
        model.restore(checkpoint)
        return logits(model.model)


@pytest.mark.parametrize(
    ("family", "words", "told"),
    [
        ("llama", [ALL], r"adapter\.experts=all: LlamaForCausalLM has no experts: set adapter\.experts=none"),
        ("gpt_oss", [ALL, "adapter.lora_dropout=0.1"], r"with adapter\.lora_dropout: set adapter\.lora_dropout=0$"),
        ("gpt_oss", [ALL, "adapter=dora"], r"with adapter=dora: set adapter=lora$"),
        (
            "deepseek_v3",
            ["adapter.target_modules=[q_b_proj,up_proj]"],
            r"peft does not adapt up_proj of deepseek_v3, because it takes them for the names of experts: leave",
        ),
        (
            "falcon_h1",
            ["adapter.target_modules=[q_proj,out_proj]"],
            r"peft does not adapt out_proj of falcon_h1, because its kernels read these weights themselves",
        ),
    ],
)
def test_what_peft_cannot_adapt_is_refused_before_the_data(
    tmp_path: Path, rows: Path, family: str, words: list[str], told: str
) -> None:
    base = tiny_base(tmp_path / "model", family)
    with pytest.raises(FrameworkError, match=told), opened(make(base, rows, tmp_path / "run", *words)):
        pass


def test_a_class_that_reads_text_only_leaves_the_tower_of_a_folder_out(tmp_path: Path, rows: Path) -> None:
    base = twins.TWINS["Llama 4"].write(tmp_path / "model")
    with opened(make(base, rows, tmp_path / "run")) as (model, _):
        assert type(model.model.get_base_model()).__name__ == "Llama4ForCausalLM"


def test_full_fine_tuning_leaves_the_parts_that_read_no_text_as_they_are(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "mistral3")
    with opened(make(base, rows, tmp_path / "run", "adapter=full", "trainer.max_steps=2")) as (model, data):
        weights = dict(model.model.named_parameters())
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        train(model, data, tmp_path)
        changed = {name for name, weight in weights.items() if not torch.equal(weight, before[name])}
    outside = {name for name in weights if "vision" in name or "projector" in name}
    assert outside
    assert changed
    assert not changed & outside
    assert {name for name, weight in weights.items() if not weight.requires_grad} == outside
