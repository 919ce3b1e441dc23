"""hf/settings/memory_plan.py: adapters of models whose layers are not all attention and a dense MLP."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.memory_families import table
from framework import FrameworkError
from framework.memory import Shape, estimate
from framework.memory.terms import adapted_experts, dequantized
from framework.util.gpus import named
from framework.util.host import GIB
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.hf.settings.memory_plan import footprint
from framework_plugins.hf.settings.planned_weights import targets, trained_parameters
from tests.plugins.hf.settings.test_memory_plan import plan
from tests.support.bases import tiny_base
from tests.support.tiny import chat_rows
from tests.support.training import make, opened

ALL, QUERIES = "adapter.experts=all", "adapter.target_modules=[q_proj,in_proj_qkv]"


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("qwen3_moe", []),
        ("qwen3_moe", [ALL]),
        ("qwen3_5_moe_text", [ALL]),
        ("qwen3_5_text", [QUERIES]),
        ("gpt_oss", [ALL, "adapter.layers_to_transform=[1]"]),
        ("lfm2", []),
    ],
)
def test_the_plan_counts_what_is_trained(tmp_path: Path, family: str, words: list[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(4)), encoding="utf-8")
    base = tiny_base(tmp_path / "model", family)
    made = make(base, rows, tmp_path / "run", *words)
    shape = Shape.from_config(json.loads((base / "config.json").read_text("utf-8")))
    adapter = made.adapter.config
    with opened(made) as (model, _):
        counted = sum(weight.numel() for weight in model.model.parameters() if weight.requires_grad)
    assert (trained_parameters(made, shape) or shape.lora_parameters(adapter.r, targets(adapter, shape))) == counted


def test_experts_are_packed_and_a_matrix_of_all_of_a_layer_is_unpacked_at_a_time() -> None:
    shape = Shape.from_config(CONFIGS["Qwen/Qwen3-30B-A3B"])
    words = ("quantization=nf4", "trainer.gradient_checkpointing=enabled")
    settings = footprint(plan(*words), shape, named("h100"), 512, 0)
    assert "experts" not in estimate(shape, settings).parts
    (block,) = shape.counts
    assert dequantized(shape, settings) == 2 * block.experts * max(part.inputs * part.outputs for part in block.expert)
    adapted = footprint(plan(*words, ALL), shape, named("h100"), 512, 0)
    assert adapted_experts(block, adapted) == 0


def test_experts_in_16_bits_are_taken_once_more_by_their_adapters() -> None:
    shape = Shape.from_config(CONFIGS["Qwen/Qwen3-30B-A3B"])
    words = ("quantization=nf4", "quantization.experts=disabled", "trainer.gradient_checkpointing=enabled")
    passes = [footprint(plan(*words, *more), shape, named("h100"), 512, 0) for more in ((), (ALL,))]
    made = [estimate(shape, replace(each, rows=1, length=512)) for each in passes]  # fewer tokens fit beside them
    assert made[0].parts["experts"] == 2 * shape.expert_parameters
    more = made[1].phases["backward"] - made[0].phases["backward"]
    assert more == pytest.approx(3 * 2 * shape.expert_parameters / shape.layers)


@pytest.mark.parametrize("name", ["Qwen/Qwen3.5-4B", "ibm-granite/granite-4.0-h-1b"])
def test_a_mixer_without_its_kernel_needs_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, made = Shape.from_config(CONFIGS[name]), plan("trainer.gradient_checkpointing=enabled")
    sizes = []
    for found in (None, "a kernel"):
        monkeypatch.setattr("framework_plugins.hf.settings.memory_plan.find_spec", lambda _, found=found: found)
        sizes.append(estimate(shape, footprint(made, shape, named("rtx4090"), 2048, 0)).high)
    assert sizes[0] > sizes[1] + GIB / 4


def test_layers_of_several_kinds_are_not_estimated_on_a_cpu() -> None:
    shape = Shape.from_config(CONFIGS["Qwen/Qwen3.5-4B"])
    with pytest.raises(FrameworkError, match=r"model_type qwen3_5_text .* estimated on GPUs only: plan\.gpu=rtx4090"):
        footprint(plan(), shape, None, 256, 0)


def test_the_page_has_the_sum_of_published_peaks() -> None:
    page = (Path(__file__).parents[4] / "docs" / "explanation" / "memory.md").read_text("utf-8")
    *_, total = table()
    assert total in page
