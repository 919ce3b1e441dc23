"""hf/load/split_weights.py: a model whose layers are on several devices computes what it computes on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from framework import FrameworkError
from framework.api.data import answer_rows
from framework.api.records import Message, Prompt
from framework.api.schema import SamplingParams
from framework.util.gpus import CONTEXT, Gpu
from framework.util.host import GIB
from framework_plugins.hf.load.split_weights import device_map
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.model import HFModel
from tests.support.training import make, opened

ON_CPU = ("trainer.device=cpu", "stages=[data,evaluate]")
SPLIT = (*ON_CPU, "launch=fsdp2", "launch.processes=2", "launch.evaluation=split")
NO_OPTIMIZER: Any = None


def measured(model: HFModel, rows: Any) -> dict[str, Any]:
    """Return answers, losses and divergences, of the model and of its base."""
    for name, weight in model.model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    prompts = [Prompt((Message("user", f"What is {number} and 1?"),)) for number in range(3)]

    def answers() -> list[str]:
        return [answer.text for answer in model.generate(prompts, max_new_tokens=8, batch_size=2)]

    with model.as_base():
        base = answers(), model.loss(rows)
    drawn = model.sample(prompts, SamplingParams(2, 6, seed=1))
    return {
        "base": base[0],
        "answers": answers(),
        "drawn": [[each.text for each in some] for some in drawn],
        "losses": [base[1], model.loss(rows)],
        "scores": [score for row in model.score(rows) for score in row.log_probs],
        "divergence": model.divergence(rows),
    }


@pytest.mark.parametrize("words", [(), ("quantization=nf4",), ("trainer.packing=pad",)])
def test_a_split_model_computes_what_the_whole_does(
    base: Path, rows: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with opened(make(base, rows, tmp_path / "whole", *ON_CPU, *words)) as (model, data):
        expected = measured(model, answer_rows(data.validation_groups))
    with opened(make(base, rows, tmp_path / "split", *SPLIT, *words)) as (model, data):
        assert model.facts["evaluation"] == "layers split into 2 parts on the CPU (launch.evaluation=split)"
        found = measured(model, answer_rows(data.validation_groups))
    for name, values in expected.items():
        assert found[name] == (values if isinstance(values[0], str | list) else pytest.approx(values, rel=1e-6)), name
    assert expected["base"] != expected["answers"]


def test_gpus_share_the_layers_if_one_is_too_small(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    plan = make(base, rows, tmp_path, "launch=fsdp2", "stages=[data,evaluate]")
    machine = Hardware("cuda", torch.bfloat16, checkpointing=False, optimizer=NO_OPTIMIZER)
    source = plan.model.create()

    def devices(gib: float, gpus: int = 2) -> list[Any]:
        gpu = Gpu("small", GIB, round((CONTEXT + gib) * GIB))
        monkeypatch.setattr(hardware, "available_gpu", lambda _: gpu)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        return list(hardware.evaluation_devices(machine, plan, source))

    assert devices(1.0) == []
    assert devices(0.001) == [0, 1]
    assert machine.facts["evaluation"] == "layers split over 2 GPUs (one GPU, with 0 GiB, cannot hold all of them)"
    told = r"launch\.processes=2: .* and 1 GPU can be seen: set launch\.processes=1"
    with pytest.raises(FrameworkError, match=told):
        devices(0.001, gpus=1)


def test_a_quantized_layer_counts_less_and_a_model_without_layers_is_refused() -> None:
    with torch.device("meta"):
        config = LlamaConfig(hidden_size=64, num_hidden_layers=6, intermediate_size=128, vocab_size=512)
        empty = LlamaForCausalLM(config)
    maps = [device_map(empty, (0, 1), quantization) for quantization in (None, BitsAndBytesConfig(load_in_4bit=True))]
    assert [sum(1 for name, device in each.items() if device and "layers" in name) for each in maps] == [4, 5]
    beside = ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head", "model.layers.5")
    assert all(each[name] == 0 for each in maps for name in beside)
    empty.config.num_hidden_layers = 7
    with pytest.raises(FrameworkError, match=r"launch\.evaluation: LlamaForCausalLM has no list of layers"):
        device_map(empty, (0, 1), None)
