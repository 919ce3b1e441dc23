"""lib/model_settings.py: numbers out of their range and names of other code, wherever they are in a config.json."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from transformers import AutoConfig

from framework_plugins.lib.model_settings import ADAPTER_RANGES, config_problem, max_positions, value_problem
from tests.support.bases import FAMILIES

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"attention_dropout": 5}, "has attention_dropout=5, which must be a number from 0 to below 1: restore it"),
    ({"attention_dropout": math.nan}, "has attention_dropout=NaN, which is not a number"),
    ({"hidden_dropout_prob": -0.1, "resid_pdrop": 0.1}, "has hidden_dropout_prob=-0.1"),
    ({"resid_pdrop": {"__float__": "Infinity"}}, "has resid_pdrop=inf"),
    (
        {"text_config": {"rms_norm_eps": -1e-6}},
        "has text_config.rms_norm_eps=-1e-06, which must be a number from",
    ),
    ({"layer_norm_epsilon": 10**400}, "has layer_norm_epsilon=1000000000000000000000000000000000000000…"),
    ({"rope_parameters": {"full_attention": {"rope_theta": 0}}}, "rope_parameters.full_attention.rope_theta=0, which"),
    ({"rope_scaling": {"factor": -2.0}}, "has rope_scaling.factor=-2.0, which must be a number above 0"),
    ({"logit_scale": [1.0, math.nan]}, "has logit_scale.1=NaN"),
    ({"max_position_embeddings": 0}, "has max_position_embeddings=0, which must be a number of at least 1"),
    ({"sliding_window": -3}, "has sliding_window=-3"),
    ({"sliding_window": 0}, "has sliding_window=0"),
    (
        {"vision_config": {"hidden_size": "64"}},
        "has vision_config.hidden_size='64', which must be a whole number from 1",
    ),
    ({"_attn_implementation": "owner/repo"}, "has _attn_implementation=owner/repo, which transformers would fetch"),
    ({"text_config": {"attn_implementation": {"": "owner/repo"}}}, "has text_config.attn_implementation=owner/repo"),
    ({"experts_implementation": "sonicmoe"}, "has experts_implementation=sonicmoe, which transformers would fetch"),
    ({"text_config": {"quantization_config": [4]}}, "has a quantization_config that is a list"),
    ({"is_encoder_decoder": True}, "has is_encoder_decoder=true, and only false works here"),
    ({"num_local_experts": -8}, "has num_local_experts=-8, which must be a whole number from 0"),
    (
        {"text_config": {"num_experts": 4, "num_experts_per_tok": 8}},
        "has num_experts_per_tok=8 and num_experts=4, so a token would go through more experts than there are: restore",
    ),
]


@pytest.mark.parametrize(("config", "told"), WRONG)
def test_a_value_that_makes_no_sense_is_named_with_its_place(config: dict[str, Any], told: str) -> None:
    assert told in config_problem(json.loads(json.dumps(config)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_config_of_each_family_makes_sense(family: str) -> None:
    assert config_problem(json.loads(AutoConfig.for_model(**FAMILIES[family](400)).to_json_string())) == ""


def test_names_and_numbers_that_only_look_alike_are_left_alone() -> None:
    config = {
        "num_experts": [4, 8], "num_experts_per_tok": 2,
        "time_step_limit": [0.0, math.inf], "num_inference_steps": 68, "token_dropout": True, "dropout": None,
        "attn_implementation": "flash_attention_2", "id2label": {"0": math.nan}, "quantization_config": {"eps": 7},
        "sliding_window": None, "intermediate_size": [8, 16], "norm_topk_prob": True,
    }  # fmt: skip
    assert config_problem(config) == ""


def test_an_adapter_has_ranges_of_its_own() -> None:
    assert value_problem({"rank_pattern": {"a.q_proj": 8}, "r": 0, "lora_alpha": 16}, ADAPTER_RANGES) == ""
    told = value_problem({"alpha_pattern": {"a.q_proj": 0}}, ADAPTER_RANGES)
    assert told.startswith("has alpha_pattern.a.q_proj=0, which must be a number above 0")
    told = value_problem({"lora_alpha": 10**40}, ADAPTER_RANGES)
    assert "which must be a number above 0, up to 3.4e+38" in told


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, None),
        ({"n_positions": 256}, 256),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"max_position_embeddings": 512, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 2048),
        ({"max_position_embeddings": 512, "rope_parameters": {"full_attention": {"factor": 2}}}, 1024),
    ],
)
def test_how_many_tokens_a_model_reads(config: dict[str, Any], tokens: int | None) -> None:
    assert max_positions(config) == tokens
