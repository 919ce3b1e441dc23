"""framework/memory/shape.py: what a config.json says of a model."""

from typing import Any

import pytest

from framework import FrameworkError
from framework.memory import Shape
from framework.memory.shape import LINEARS

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
SMOLLM = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(("config", "parameters"), [(LLAMA, 8_030_261_248), (SMOLLM, 134_515_008)])
def test_parameters_are_those_of_the_real_model(config: dict[str, Any], parameters: int) -> None:
    assert Shape.from_config(config).total == parameters


@pytest.mark.parametrize("stored", [0, 134_515_008, 134_515_008 + 576 * 49152])
def test_files_that_hold_what_config_json_describes_are_estimated(stored: int) -> None:
    assert Shape.from_config(SMOLLM, stored).total == 134_515_008


def test_files_that_hold_more_than_config_json_describes_are_not_estimated() -> None:
    with pytest.raises(FrameworkError, match=r"describes 134,515,008 parameters .*: its files hold 140,000,000$"):
        Shape.from_config(SMOLLM, 140_000_000)


def test_a_known_number_of_parameters_wins() -> None:
    shape = Shape(64, 2, 4, 2, 16, 128, 100, tied=True, parameters=12345)
    assert shape.total == 12345


def test_the_text_part_of_a_model_for_images_is_read() -> None:
    assert Shape.from_config({"model_type": "gemma3", "text_config": LLAMA}) == Shape.from_config(LLAMA)


def test_heads_may_be_wider_than_their_share() -> None:
    shape = Shape.from_config(LLAMA | {"head_dim": 256})
    assert (shape.q, shape.kv) == (8192, 2048)
    assert shape.linears["o"] == (8192, 4096)


def test_lora_counts_inputs_and_outputs_of_each_layer() -> None:
    shape = Shape.from_config(SMOLLM)
    assert shape.lora_parameters(16, LINEARS) == 4_884_480  # as peft counts them
    assert shape.lora_parameters(1, ("q", "nothing")) == 30 * (576 + 576)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_size": None}, "has no hidden_size"),
        ({"num_hidden_layers": None}, "has no num_hidden_layers"),
        ({"moe_num_experts": 8}, "has experts under names of its own, which this estimate does not cover"),
        ({"num_experts": 8, "interleave_moe_layer_step": 2}, "has experts in some layers by a rule of its own"),
        ({"mamba_d_state": 8}, "has state-space layers beside attention"),
        ({"layer_types": ["chunked_attention"] * 32}, "has layers of the kind chunked_attention"),
        ({"layer_types": ["full_attention"] * 31}, "lists 31 kinds of layers for 32 layers"),
        ({"layer_types": ["linear_attention"] * 32}, "has linear attention of another kind"),
        ({"per_layer_config": {"5": {"intermediate_size": 512}}}, "has layers with their own intermediate_size"),
        ({"quantization_config": {"quant_method": "fp8"}}, "says that the weights in the file are already quantized"),
        ({"kv_lora_rank": 8}, "describes layers that cannot be read: KeyError: 'qk_rope_head_dim'"),
        ({"layer_types": "full_attention"}, "has layers of the kind"),
        ({"num_experts": 8, "mlp_layer_types": ["sparse"]}, "describes layers that cannot be read: IndexError"),
        ({"num_experts": 8, "num_experts_per_tok": 2}, "it needs the files of the weights to compare"),
    ],
)  # fmt: skip
def test_what_the_arithmetic_does_not_know_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(FrameworkError, match=f"config.json of model_type llama .*{told}"):
        Shape.from_config(LLAMA | change)


EXPERTS = LLAMA | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 1792}


def test_experts_of_a_family_that_was_not_compared_are_estimated_if_the_files_hold_as_many_parameters() -> None:
    shape = Shape.from_config(EXPERTS, 8_030_261_248)
    assert shape.expert_parameters == 32 * 8 * 3 * 4096 * 1792
    assert shape.active_parameters == 32 * (2 * 3 * 4096 * 1792 + 2 * 4096 * (4096 + 1024))
