"""unsloth/twin.py: small models of the architecture that a config tells of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from framework_plugins.unsloth import twin


@pytest.mark.parametrize(
    "kind", ["llama", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3", "gpt_neox", "qwen3_moe"]
)
def test_the_twin_is_small_and_of_its_kind(kind: str, tmp_path: Path) -> None:
    folder = twin.make(AutoConfig.for_model(kind).to_dict(), tmp_path)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == kind
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() < 1_500_000
    assert model.config.num_hidden_layers == twin.LAYERS


def test_of_a_model_with_images_the_text_part_is_made(tmp_path: Path) -> None:
    folder = twin.make(AutoConfig.for_model("gemma3").to_dict(), tmp_path)
    kinds = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert kinds["model_type"] == "gemma3_text"
    assert len(set(kinds["layer_types"])) == 2


def test_stretched_positions_whose_lists_do_not_fit_are_left_out(tmp_path: Path) -> None:
    long: dict[str, Any] = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
    twin.make({**AutoConfig.for_model("phi3").to_dict(), "rope_parameters": long}, tmp_path)


def test_its_tokenizer_has_the_template_that_a_run_asks_for(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(twin.make(AutoConfig.for_model("llama").to_dict(), tmp_path))
    messages = [{"role": "user", "content": "t7"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "t7 "
    assert len(tokenizer) == twin.VOCABULARY
    assert tokenizer.pad_token_id == 0
