"""Every causal class of the installed transformers opens, or is refused in a line, before weights are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from framework import FrameworkError, Plan
from framework.api.training import ModelPlace
from framework.memory import Shape
from framework_plugins.hf.backend import try_adapter
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.load.adapter_targets import check_targets
from framework_plugins.hf.load.loading import without_weights
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.packing.eligibility import forward_plan
from framework_plugins.hf.settings.config import HFTrainerConfig, Packing
from tests.support.training import make

TRAINED = (
    "gemma3", "gemma3_text", "gemma4", "gemma4_text", "glm4_moe_lite", "gpt_oss", "granitemoehybrid", "lfm2", "llama",
    "mamba", "ministral3", "mistral3", "nemotron_h", "olmo3", "phi3", "qwen3", "qwen3_5_text", "qwen3_5_moe_text",
    "qwen3_moe", "qwen3_vl", "rwkv", "smollm3",
)  # fmt: skip
"""Families that people train, and two without attention."""
EVERY = dict.fromkeys((*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES))
LAYERS: dict[str, Any] = {"num_hidden_layers": 6}
"""With this number each family of `TRAINED` has all its kinds of layers. With the default number, the test of all
families takes many times as long."""


def small(family: str) -> PretrainedConfig:
    """Return the config of a family as its class makes it, with few layers, or with all if it takes no other number."""
    whole = CONFIG_MAPPING[family]()
    if family == "nemotron_h":  # whose default has four
        return whole
    parts = {name: getattr(whole, name, None) for name in ("text_config", "vision_config")}
    nested = {name: {"model_type": part.model_type, **LAYERS} for name, part in parts.items() if part is not None}
    try:
        return CONFIG_MAPPING[family](**nested or LAYERS)
    except Exception:  # noqa: BLE001 - lists of layers that have another length
        return whole


def outcome(family: str, plan: Plan, folder: Path) -> str:
    """Open the default model of a family without weights, as a run does; say how it is packed, or how it is refused."""
    try:
        small(family).save_pretrained(folder)
    except Exception as error:  # noqa: BLE001 - a family whose default sizes are none
        return f"not tried: {type(error).__name__}"
    settings, place = HFTrainerConfig(), ModelPlace(folder, family)
    try:
        model = without_weights(place, settings, trust=False)
        check_targets(plan, trained_config(plan), model, torch.float32)
        _, packing = forward_plan(settings, model, "sdpa", "cpu", None, quantized=False)
        len(model.get_input_embeddings().weight)
        Losses(model, Packing.tree, dense_mask=True)
        stored = sum(weight.numel() for weight in model.parameters())
        _, adapted = try_adapter(plan, place, model)
    except FrameworkError as error:
        return f"refused: {error}"
    except Exception as error:  # noqa: BLE001 - all of them are reported together
        return f"raised: {type(error).__name__}: {error}"
    try:
        Shape.from_config(model.config.to_dict(), stored)
    except FrameworkError as error:
        return f"{packing}; {adapted}; not estimated: {error}"
    return f"{packing}; {adapted}"


def outcomes(families: Iterable[str], folder: Path) -> dict[str, str]:
    plan = make(folder, folder / "rows.jsonl", folder / "run")
    return {family: outcome(family, plan, folder) for family in families}


def test_the_families_that_people_train_open(tmp_path: Path) -> None:
    found = outcomes(TRAINED, tmp_path)
    assert {family: said for family, said in found.items() if said.startswith(("refused", "raised", "not"))} == {}
    assert found["llama"] == "tree; "
    assert {family for family, said in found.items() if "not estimated" in said} <= {"mamba", "rwkv", "qwen3_vl"}


@pytest.mark.slow
def test_every_class_opens_or_is_refused_in_a_line(tmp_path: Path) -> None:
    found = outcomes(EVERY, tmp_path)
    assert {family: said for family, said in found.items() if said.startswith("raised") or "\n" in said} == {}
    refused = {family for family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if found[family].startswith("refused")}
    assert len(refused) < len(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) // 10
