"""SmolLM2 with an adapter as GGUF: what llama.cpp says of it is what transformers says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from framework import testing
from framework.api.protocols import ExportContext
from framework_plugins.exports.gguf.adapter import GgufAdapterExporter
from framework_plugins.exports.gguf.exporter import GgufExporter
from framework_plugins.exports.gguf.file import Tensors
from framework_plugins.exports.llama.model import Llama
from tests.support.adapted_llama import AdaptedLlama
from tests.support.bases import adapted
from tests.support.ggufs import converted

pytestmark = pytest.mark.slow
QUESTIONS = ("What is the capital of France?", "Add 17 and 25.", "Write a line about the sea.")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the run folder, the notes of its files, the adapted model, and the prompts as token ids."""
    run_dir = tmp_path_factory.mktemp("smollm2")
    words = ["model=smollm2_135m", "name=orders", "exporter=[gguf,gguf_adapter]", "exporter.gguf.parity.check=false"]
    plan = testing.plan([*words, "exporter.gguf.quantizations=[f16,q8_0,q4_k_m]"], run_dir=run_dir)
    base = plan.model.create().fetch(weights=True).folder
    theirs = adapted(base, run_dir / "checkpoint", r=8, lora_alpha=16)
    for name, weight in theirs.named_parameters():
        if "lora_" in name:
            weight.data.mul_(0.1)  # as small as a training makes them
    theirs.save_pretrained(run_dir / "checkpoint", save_embedding_layers=False)
    context = ExportContext(run_dir, run_dir / "checkpoint", plan.config, plan)
    artifacts = GgufExporter(plan.exporter["gguf"].config).export(testing.EchoModel(plan), context)
    GgufAdapterExporter(plan.exporter["gguf_adapter"].config).export(testing.EchoModel(plan), context)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        for question in QUESTIONS
    ]
    return run_dir, {Path(each.path).name: each.notes for each in artifacts}, theirs, tokenizer, prompts


def test_types_that_k_quants_fall_back_to_are_reported(made: Any) -> None:
    run_dir, notes, *_ = made
    assert notes["orders-F16.gguf"] == notes["orders-Q8_0.gguf"] == []
    tensors = Tensors.read(run_dir / "gguf" / "orders-Q4_K_M.gguf")
    assert sum(tensors.types.values()) == 211
    assert sum(tensors.narrow.values()) == 181
    assert set(tensors.narrow) == {"Q5_0", "Q8_0"}
    assert notes["orders-Q4_K_M.gguf"] == [
        "181 of 211 matrices are Q5_0/Q8_0, not Q4_K_M: the width of their rows is not a multiple of 256"
    ]


def test_prompts_tokens_and_greedy_answers_of_f16_are_those_of_transformers(made: Any) -> None:
    run_dir, _, theirs, tokenizer, prompts = made
    agreed = []
    with Llama(run_dir / "gguf" / "orders-F16.gguf") as llama:
        for prompt in prompts:
            ids = llama.tokenize(prompt)
            assert ids == tokenizer.encode(prompt, add_special_tokens=False)
            with torch.no_grad():
                out = theirs.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0].tolist()
                expected = theirs(torch.tensor([out])).logits[0].numpy()
            agreed += list(llama.logits(out).argmax(1) == expected.argmax(1))
            said = llama.complete(ids, max_new_tokens=40)
            assert [*said.ids, *([tokenizer.eos_token_id] if said.stopped else [])] == out[len(ids) :]
    assert np.mean(agreed) > 0.99


def test_the_adapter_on_the_bases_file_is_the_adapted_model_too(made: Any) -> None:
    run_dir, _, theirs, _, prompts = made
    base = Path(theirs.peft_config["default"].base_model_name_or_path)
    agreed = []
    with AdaptedLlama(converted([base], run_dir, dtype="f16")[base.name]) as llama:
        llama.use_adapter(run_dir / "gguf_adapter" / "orders-LoRA.gguf")
        for prompt in prompts:
            ids = llama.tokenize(prompt)
            with torch.no_grad():
                expected = theirs(torch.tensor([ids])).logits[0].numpy()
            agreed += list(llama.logits(ids).argmax(1) == expected.argmax(1))
    assert np.mean(agreed) > 0.98
    size = (run_dir / "gguf_adapter" / "orders-LoRA.gguf").stat().st_size
    assert 0.9 < size / (2 * 2_442_240) < 1.1  # parameters of rank 8 on all linear layers, 16 bits each
