"""A small random model of a config shows what llama.cpp computes differently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from framework.api import PythonProcess
from framework_plugins.exports.gguf.twin import Divergence

SIZES = {"hidden_size": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 5000}
STATES = {
    "mamba_n_heads": 8,
    "mamba_d_head": 64,
    "mamba_d_state": 16,
    "mamba_chunk_size": 16,
    "attn_layer_indices": [1],
}
ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def process() -> Iterator[PythonProcess]:
    with PythonProcess(env={"GGML_NO_BACKTRACE": "1"}) as process:
        yield process


def compare(process: PythonProcess, folder: Path, family: str, **changes: Any) -> Divergence:
    config = CONFIG_MAPPING[family](**{**SIZES, "num_hidden_layers": 3, **changes})
    config.architectures = [changes.pop("architecture", f"{family.capitalize()}ForCausalLM")]
    config.save_pretrained(folder / "model")
    found: Divergence = process.call(
        "framework_plugins.exports.gguf.twin:divergence", str(folder / "model"), str(folder), 4096, tree=None,
        trust=False,
    )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"head_dim": 32, "rope_parameters": LLAMA3, "max_position_embeddings": 512}),
        ("gpt2", {"n_positions": 512, "n_head": 4, "architecture": "GPT2LMHeadModel"}),
        # A router multiplies the rounding of a cache in fp16: both have to hold the same numbers.
        ("qwen3_moe", {**ROUTED, "head_dim": 8, "norm_topk_prob": True, "architecture": "Qwen3MoeForCausalLM"}),
    ],
)
def test_a_family_whose_answers_are_equal_in_llama_cpp_passes(
    process: PythonProcess, tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    found = compare(process, tmp_path, family, **changes)
    assert found.nats is not None
    assert found.nats < 1e-5
    assert not found.differs


def test_a_rope_that_the_converter_permutes_wrongly_differs(process: PythonProcess, tmp_path: Path) -> None:
    half = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    assert compare(process, tmp_path, "bamba", rope_parameters=half, **STATES).differs


def test_a_twin_whose_logits_are_all_equal_decides_nothing(process: PythonProcess, tmp_path: Path) -> None:
    found = compare(
        process, tmp_path, "granite", logits_scaling=1e30, architecture="GraniteForCausalLM", attention_multiplier=0.1
    )
    assert (found.nats, found.differs) == (None, False)
    assert found.reason == "ValueError: its logits are all equal, or not numbers"


def test_a_model_of_which_there_is_no_small_one_is_not_judged(process: PythonProcess, tmp_path: Path) -> None:
    found = compare(process, tmp_path, "llama", head_dim=16384)
    assert (found.nats, found.differs) == (None, False)
    assert "parameters" in found.reason
