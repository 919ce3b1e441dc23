"""hf/load/preset_configs.py: the sizes of the presets, beside the classes of transformers and what publishers state."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING

from framework.memory import Shape
from framework_plugins.hf.load.preset_configs import CONFIGS
from framework_plugins.lib.auto_class import auto_class

STATED = {
    "unsloth/Llama-3.2-1B-Instruct": 1.24, "unsloth/Llama-3.2-3B-Instruct": 3.21,
    "unsloth/Meta-Llama-3.1-8B-Instruct": 8.03, "mistralai/Mistral-7B-Instruct-v0.3": 7.25,
    "microsoft/Phi-4-mini-instruct": 3.84, "Qwen/Qwen3-4B-Instruct-2507": 4.02, "Qwen/Qwen3-8B": 8.19,
    "unsloth/gemma-3-4b-it": 4.30, "Qwen/Qwen3-30B-A3B": 30.5, "unsloth/gpt-oss-20b-BF16": 20.9,
    "google/gemma-4-26B-A4B-it": 25.2 + 0.55, "google/gemma-4-31B-it": 30.7 + 0.55, "google/gemma-4-E2B-it": 5.1,
    "unsloth/Ministral-3-3B-Instruct-2512": 3.4 + 0.4, "unsloth/Ministral-3-8B-Instruct-2512": 8.4 + 0.4,
    "unsloth/Ministral-3-14B-Instruct-2512": 13.5 + 0.4, "LiquidAI/LFM2.5-1.2B-Instruct": 1.17,
    "LiquidAI/LFM2-8B-A1B": 8.3, "allenai/Olmo-3-7B-Instruct": 7.3, "microsoft/phi-4": 14.7,
}  # fmt: skip
"""Billions of parameters that the publisher states to 1% or better, here with the parts for images of Gemma 4."""
DIGITS = 0.011
"""Share that the stated numbers may be rounded by."""


def built(path: str) -> int:
    """Build the class of a preset without weights; return its parameters."""
    settings = json.loads(json.dumps({name: value for name, value in CONFIGS[path].items() if name != "architectures"}))
    config = CONFIG_MAPPING[settings.pop("model_type")](**settings)
    with torch.device("meta"):
        model = auto_class(transformers, config.to_dict()).from_config(config)
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("path", STATED)
def test_the_plan_counts_the_parameters_that_the_publisher_states(path: str) -> None:
    assert Shape.from_config(CONFIGS[path]).total / 1e9 == pytest.approx(STATED[path], rel=DIGITS)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path == "google/gemma-4-E2B-it" else pytest.mark.slow) for path in CONFIGS],
)
def test_the_plan_counts_the_parameters_of_the_class(path: str) -> None:
    assert Shape.from_config(CONFIGS[path]).total == pytest.approx(built(path), rel=0.005)
