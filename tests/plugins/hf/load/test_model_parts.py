"""hf/load/model_parts.py: the parts of a model, found by what they are; and the parameters that a folder holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig

from framework_plugins.hf.load import model_parts
from framework_plugins.hf.load.hub import LocalModel
from framework_plugins.hf.settings.config import LocalModelConfig
from framework_plugins.lib.auto_class import auto_class
from tests.support.bases import FAMILIES, tiny_base


@pytest.mark.parametrize(
    ("family", "written_by", "told"),
    [
        ("qwen9", "7.1.0", r"does not know model_type=qwen9; transformers 7\.1\.0 wrote its config\.json, so install"),
        ("qwen9", "", "does not know model_type=qwen9: install a newer version$"),
        ("vit", "", "^model_type=vit does not write text in transformers .*: choose a model with a causal head$"),
        ("mistral3", "", "^$"),
        ("llama", "", "^$"),
    ],
)
def test_a_family_without_a_class_is_refused_with_a_way_out(family: str, written_by: str, told: str) -> None:
    assert re.search(told, model_parts.family_problem(family, written_by))


@pytest.mark.parametrize(
    ("family", "outside", "experts", "routers"),
    [
        ("llama", [], 0, []),
        ("gemma3", ["model.vision_tower", "model.multi_modal_projector"], 0, []),
        ("mistral3", ["model.vision_tower", "model.multi_modal_projector"], 0, []),
        ("qwen3_moe", [], 4, []),  # its router is a parameter
        ("granitemoehybrid", [], 4, []),
        ("gemma4_text", [], 4, ["router.proj", "router.proj"]),
    ],
)
def test_towers_experts_routers_are_found(family: str, outside: list[str], experts: int, routers: list[str]) -> None:
    more = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16}
    config = AutoConfig.for_model(**FAMILIES[family](300) | (more if family == "gemma4_text" else {}))
    with torch.device("meta"):
        model = auto_class(transformers, config.to_dict()).from_config(config)
    layers = model_parts.linear_layers(model)
    assert model_parts.outside_text(model) == outside
    assert len(model_parts.fused_experts(model)) == experts
    assert [name.split(".", 3)[-1] for name in model_parts.routers(model, layers)] == routers
    assert not [name for name in layers if "vision" in name or "head" in name]


def test_a_folder_tells_its_parameters_and_none_of_a_damaged_file(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "model", "llama", shards="50KB")
    model = LocalModel(LocalModelConfig(path=str(base)))
    config = AutoConfig.from_pretrained(base)
    with torch.device("meta"):
        empty = auto_class(transformers, config.to_dict()).from_config(config)
    assert model.parameters() == sum(weight.numel() for weight in empty.parameters())
    next(base.glob("*.safetensors")).write_bytes(b"\x08\0\0\0\0\0\0\0[broken]")
    assert model.parameters() == 0
