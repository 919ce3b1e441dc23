"""unsloth/twin.py: small models of the architecture that a config describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from framework import FrameworkError
from framework_plugins.unsloth import compare, twin


def kind(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    twin.make(config, folder)
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gpt_neox", "qwen3_moe"])
def test_the_twin_is_small_and_of_its_kind(name: str, tmp_path: Path) -> None:
    assert kind(AutoConfig.for_model(name).to_dict(), tmp_path)["model_type"] == name
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() < 1_500_000
    assert model.config.num_hidden_layers == twin.LAYERS


def test_of_a_model_with_images_the_text_part_is_made(tmp_path: Path) -> None:
    found = kind(AutoConfig.for_model("gemma3").to_dict(), tmp_path)
    assert (found["model_type"], len(set(found["layer_types"]))) == ("gemma3_text", 2)


def test_stretched_positions_whose_lists_do_not_fit_are_left_out(tmp_path: Path) -> None:
    long: dict[str, Any] = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    found = kind({**AutoConfig.for_model("phi3").to_dict(), "rope_parameters": long}, tmp_path)
    assert "short_factor" not in (found.get("rope_parameters") or {})


def test_what_transformers_does_not_know_is_said(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="nothing-known"):
        twin.step(tmp_path, {"model_type": "nothing-known"}, compare.rows(), None, None, "cpu", torch.float32)
