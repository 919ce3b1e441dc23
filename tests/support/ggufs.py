"""Tiny random models of the families that GGUF is promised for, each with its kind of tokenizer, and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework.api import PythonProcess
from framework_plugins.exports.export_folder import read_json
from framework_plugins.exports.gguf import metadata
from framework_plugins.exports.gguf.convert import sentencepiece
from tests.support.families import FAMILIES, make_tokenizer

SIZES = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
"""A width that K-quants can pack."""
Config = Callable[[int], Any]


def _config(model_type: str, **changes: Any) -> Config:
    def make(vocab: int) -> Any:
        from transformers import AutoConfig

        return AutoConfig.for_model(model_type, vocab_size=vocab, **{**SIZES, **changes})

    return make


MODELS: Mapping[str, tuple[str, Config]] = {
    "llama": ("llama3", _config("llama", rope_theta=500_000.0, tie_word_embeddings=True)),
    "mistral": ("mistral_v3", _config("mistral", head_dim=64, sliding_window=None)),
    "qwen2": ("chatml", _config("qwen2", tie_word_embeddings=True)),
    "qwen3": ("qwen3", _config("qwen3", head_dim=64)),
    # llama.cpp scales queries by the size of a head, which is what Gemma's own sizes come to.
    "gemma3": (
        "gemma",
        _config("gemma3_text", head_dim=64, query_pre_attn_scalar=64, sliding_window=64, num_hidden_layers=7),
    ),
    "phi3": ("phi3", _config("phi3", pad_token_id=0, original_max_position_embeddings=512, sliding_window=128)),
    "phi4": ("phi4", _config("phi3", pad_token_id=0, original_max_position_embeddings=512, sliding_window=None)),
}
"""By a name: the family of the tokenizer, and the config."""
CONVERTERS = [
    pytest.param(None, id="bundled"),
    pytest.param("newest", id="newest", marks=[pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(1200)]),
]
"""Parameters of a fixture: AutoRound's converter, and that of the fixture `newest`."""


def tiny_model(folder: Path, name: str, *, dtype: str = "float32", **changes: Any) -> Path:
    """Write a random model, with weights so large that its answers differ; `changes` are of its config."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    family, make = MODELS[name]
    tokenizer = make_tokenizer(family)
    config = make(len(tokenizer))
    config.update({"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for weight in model.parameters():
            weight.data.mul_(3) if weight.dim() > 1 else weight.data.add_(0.1 * torch.randn_like(weight))
    stops = [tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(list(FAMILIES[family].stops))]
    model.generation_config = GenerationConfig(eos_token_id=stops if len(stops) > 1 else stops[0])
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def converted(folders: Sequence[Path], target: Path, *, dtype: str = "f32", tree: str | None = None) -> dict[str, Path]:
    """Convert model folders, all in one process; the files lie below `target` and go by the names of the folders.

    `tree` is a source tree of llama.cpp, whose converter is used.
    """
    jobs = []
    for folder in folders:
        sentencepiece.complete_folder(folder)
        name = metadata.general_name(folder.name, read_json(folder / "tokenizer.json"))
        file = f"{target}/{folder.name}.gguf"
        jobs.append({"folder": str(folder), "target": file, "dtype": dtype, "name": name, "tree": tree})
    run("framework_plugins.exports.gguf.convert.model", jobs)
    return {folder.name: target / f"{folder.name}.gguf" for folder in folders}


def run(module: str, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Call `convert` of a module with each of the jobs, in one process of its own."""
    with PythonProcess() as process:
        for job in jobs:
            process.call(f"{module}:convert", **job)
