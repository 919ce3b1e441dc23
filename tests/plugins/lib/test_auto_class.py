"""framework/api/auto_class.py: which class of transformers loads a model."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from framework_plugins.lib.auto_class import auto_class, published_class


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "llama"}, "AutoModelForCausalLM"),
        ({"model_type": "mistral3"}, "AutoModelForMultimodalLM"),
        ({"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Model"}}, "AutoModelForCausalLM"),
        ({}, "AutoModelForCausalLM"),
    ],
)
def test_a_family_without_a_causal_class_is_loaded_by_the_multimodal_one(config: dict[str, Any], name: str) -> None:
    assert auto_class(transformers, config).__name__ == name


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"]}, "AutoModelForMultimodalLM"),
        ({"model_type": "qwen3_5", "architectures": ["Qwen3_5ForCausalLM"]}, "AutoModelForCausalLM"),
        ({"model_type": "qwen3_5"}, "AutoModelForCausalLM"),
        ({"model_type": "mistral3"}, "AutoModelForMultimodalLM"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "AutoModelForCausalLM"),
        ({"architectures": None}, "AutoModelForCausalLM"),
    ],
)
def test_the_published_class_is_the_one_that_config_json_names(config: dict[str, Any], name: str) -> None:
    assert published_class(transformers, config).__name__ == name
