"""methods/reward_config.py: which folders `reward=reward_model` takes; its scores: tests/plugins/trl_trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from framework.memory import Shape
from framework.plan.make import make_plan
from framework.testing import compose
from framework.util.gpus import named
from framework_plugins.hf.settings.memory_plan import footprint
from framework_plugins.methods.reward_config import reward_folder
from tests.framework.memory.test_shape import SMOLLM
from tests.support.project import project


def put(folder: Path, name: str, **settings: object) -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_a_run_an_adapter_and_a_model_are_found(tmp_path: Path) -> None:
    kept = put(tmp_path / "run" / "checkpoint", "adapter_config.json", task_type="SEQ_CLS")
    assert reward_folder(str(tmp_path / "run")) == kept
    exported = put(tmp_path / "run" / "adapter", "adapter_config.json", task_type="SEQ_CLS")
    assert reward_folder(str(tmp_path / "run")) == exported == reward_folder(str(exported))
    whole = put(tmp_path / "whole", "config.json", architectures=["LlamaForSequenceClassification"])
    assert reward_folder(str(whole)) == whole


def test_the_plan_counts_its_weights(tmp_path: Path) -> None:
    base = put(tmp_path / "base", "config.json")
    save_file({"layer": torch.zeros(10, 4, dtype=torch.bfloat16)}, base / "model.safetensors")
    judge = put(tmp_path / "judge", "adapter_config.json", task_type="SEQ_CLS", base_model_name_or_path=str(base))
    save_file({"lora": torch.zeros(5)}, judge / "adapter_model.safetensors")

    def frozen(*words: str, gpu: bool) -> float:
        overrides = ["model=llama1b", "data=local_file", "data.path=x.jsonl", "method=grpo", *words]
        plan = make_plan(compose(overrides), run_dir=Path("unused"))
        return footprint(plan, Shape.from_config(SMOLLM), named("rtx4090") if gpu else None, 256, 0).frozen

    words = ("reward=[reward_model]", f"reward.reward_model.path={judge}")
    for gpu, expected in ((True, 80 + 20), (False, 4 * 45)):
        assert frozen(*words, gpu=gpu) - frozen("reward=[token_f1]", gpu=gpu) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither adapter_config.json nor config.json is in this folder"),
        ({"adapter_config.json": '{"task_type": "CAUSAL_LM"}'}, "gives no scores: train one with trainer=trl"),
        ({"config.json": '{"architectures": ["LlamaForCausalLM"]}'}, "gives no scores: train one with trainer=trl"),
        ({"config.json": "["}, "config.json"),
    ],
)
def test_another_folder_is_refused_in_one_line(tmp_path: Path, files: dict[str, str], message: str) -> None:
    work = project(tmp_path, {f"judge/{name}": text for name, text in files.items()})
    words = ("method=grpo", "reward=[reward_model]", "reward.reward_model.path=judge")
    result = work.run("stages=[plan]", *words)
    (line,) = result.err.splitlines()
    assert result.code == 2
    assert "reward.reward_model.path=judge: " in line
    assert message in line
