"""exports/gguf/convert/hparams.py: the converter gets what transformers leaves out of a config.json."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig

from framework_plugins.exports.gguf.convert.hparams import for_converter, read_hparams
from tests.support.twins import TWINS, YARN

CONVERSION = SimpleNamespace(
    ModelBase=SimpleNamespace(load_hparams=lambda folder, _: AutoConfig.from_pretrained(folder).to_dict())
)


def hparams(folder: Path, name: str) -> dict[str, Any]:
    """Return those of a twin's config.json; of its text part, if it has parts."""
    AutoConfig.for_model(**TWINS[name].config(64)).save_pretrained(folder)
    found = read_hparams(CONVERSION, folder)
    part: dict[str, Any] = found.get("text_config", found)
    return part


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Gemma 4 12B, 31B", {"head_dim": 8, "global_head_dim": 16, "num_global_key_value_heads": 1}),
        ("Nemotron 3 MoE", {"num_hidden_layers": 4, "hybrid_override_pattern": "ME*E"}),
        ("SmolLM3", {"rope_theta": 2e6}),
    ],
)
def test_a_setting_that_is_stored_in_another_form_has_its_former_name_too(
    tmp_path: Path, name: str, wanted: dict[str, Any]
) -> None:
    found = hparams(tmp_path, name)
    assert {key: found[key] for key in wanted} == wanted


def test_positions_that_are_scaled_are_said_as_the_converter_reads_them(tmp_path: Path) -> None:
    found = hparams(tmp_path, "Phi-4 mini")
    assert (found["partial_rotary_factor"], found["rope_scaling"]["long_factor"]) == (0.75, [1.0, 2.0, 4.0])
    assert "rope_scaling" not in hparams(tmp_path, "Phi-4")


def test_layers_have_the_names_that_a_converter_compares_with(tmp_path: Path) -> None:
    found = hparams(tmp_path, "Granite 4 hybrid")
    assert found["layer_types"][:2] == ["linear_attention", "full_attention"]
    hybrid = type("Hybrid", (), {"get_attn_layers": None})
    assert for_converter(hybrid, found)["layer_types"][:2] == ["mamba", "attention"]
    assert for_converter(object, found) == found


@pytest.mark.parametrize(
    ("family", "settings", "wanted"),
    [
        ("gpt2", {"n_positions": 512}, {"n_ctx": 512}),
        ("gpt_neox", {}, {"rotary_pct": 0.25}),
        ("cohere2", {}, {"rotary_pct": 1.0}),
        ("minimax_m2", {"head_dim": 64}, {"rotary_dim": 64}),
        ("mimo_v2_flash", {"head_dim": 64, "num_hidden_layers": 4}, {"swa_head_dim": 64}),
        ("solar_open", {}, {"partial_rotary_factor": 1.0}),
        ("glm4_moe_lite", {}, {"scoring_func": "sigmoid"}),
        ("llama", {"rope_parameters": YARN}, {"original_max_position_embeddings": 64}),
    ],
)
def test_what_transformers_no_longer_writes_is_completed(
    tmp_path: Path, family: str, settings: dict[str, Any], wanted: dict[str, Any]
) -> None:
    AutoConfig.for_model(family, **settings).save_pretrained(tmp_path)
    found = read_hparams(CONVERSION, tmp_path)
    assert {key: found[key] for key in wanted} == wanted
