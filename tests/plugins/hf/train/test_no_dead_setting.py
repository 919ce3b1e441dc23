"""No setting of a training is dead: each is changed in a tiny training, which changes, or has its reason.

The settings of optimizers and schedules are changed in `tests/plugins/hf/settings`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from framework.api import RunFolder
from framework_plugins.hf.settings.config import (
    DoraAdapterConfig,
    FullConfig,
    HFTrainerConfig,
    Int8Config,
    LoraAdapterConfig,
    NF4Config,
    NoQuantizationConfig,
    RsLoraAdapterConfig,
    ShuffledConfig,
)
from tests.support.training import make, opened, train

SCHEMAS: dict[str, tuple[Any, ...]] = {
    "trainer": (HFTrainerConfig,),
    "quantization": (NoQuantizationConfig, Int8Config, NF4Config),
    "adapter": (LoraAdapterConfig, DoraAdapterConfig, RsLoraAdapterConfig, FullConfig),
    "sampler": (ShuffledConfig,),
}
PLAIN = {
    "audit": "[]", "evaluator": "[]", "data.validation_split": "0.2", "trainer.max_steps": "null",
    "trainer.num_train_epochs": "1", "trainer.per_device_train_batch_size": "2", "trainer.eval_steps": "2",
    "trainer.gradient_accumulation_steps": "2", "trainer.save_seconds": "null",
}  # fmt: skip
CHANGED = {
    "trainer.learning_rate": "0.02", "trainer.num_train_epochs": "0.5", "trainer.max_steps": "1",
    "trainer.per_device_train_batch_size": "1", "trainer.gradient_accumulation_steps": "1",
    "trainer.max_seq_length": "30", "trainer.warmup_steps": "0", "trainer.weight_decay": "0.5",
    "trainer.max_grad_norm": "0.001", "trainer.eval_steps": "1",
    "trainer.neftune_noise_alpha": "5", "trainer.dtype": "bf16", "trainer.attention": "eager",
    "trainer.gradient_checkpointing": "enabled", "trainer.packing": "pad", "trainer.save_seconds": "1e-9",
    "trainer.save_steps": "1", "trainer.tokens_per_pass": "40",
    "adapter.r": "8", "adapter.lora_alpha": "64", "adapter.lora_dropout": "0.5",
    "adapter.target_modules": "[q_proj]", "adapter.layers_to_transform": "[0]", "adapter.rank_pattern": "{q_proj: 2}",
    "adapter.alpha_pattern": "{q_proj: 2}", "adapter.modules_to_save": "[lm_head]",
}  # fmt: skip
TOGETHER = {
    "trainer.warmup_ratio": {"trainer.warmup_steps": "null", "trainer.warmup_ratio": "0.9"},
    "trainer.logging_steps": {"trainer.eval_steps": "null", "trainer.logging_steps": "3"},
    "sampler.group_by_prefix": {"trainer.packing": "pad", "sampler.group_by_prefix": "false"},
    "quantization.double_quant": {"quantization": "nf4", "quantization.double_quant": "false"},
    "quantization.llm_int8_threshold": {"quantization": "int8", "quantization.llm_int8_threshold": "0.01"},
    "trainer.save_total_limit": {"trainer.save_steps": "1", "trainer.save_total_limit": "1"},
}
"""Settings that need another one, which both trainings have."""
REASONS = {
    "trainer.early_stopping_patience": "the run decides: tests/framework/run/test_training.py",
    "trainer.early_stopping_metric": "the run decides: tests/framework/run/test_training.py",
    "trainer.keep_best": "the run decides: tests/framework/run/test_training.py",
    "trainer.per_device_eval_batch_size": "only how many rows are in one pass; the loss is the same",
    "trainer.answers_at_once": "no answers are drawn: tests/plugins/hf/train/test_rollouts.py",
    "trainer.device": "there is no GPU",
    "trainer.fused_layers": "they compute the same: tests/plugins/hf/fused_layers",
    "trainer.torch_compile": "it computes the same: tests/plugins/hf/train/test_compiled.py",
    "trainer.on_out_of_memory": "memory does not run out: tests/plugins/hf/train/test_oom_retry.py",
    "trainer.dataloader_num_workers": "the weights are the same: tests/plugins/hf/settings/test_library_fields.py",
    "trainer.args": "each of its fields has a test: tests/plugins/hf/settings/test_library_fields.py",
    "adapter.args": "each of its fields has a test: tests/plugins/hf/load/test_adapter_settings.py",
    "adapter.start": "there is no adapter yet: tests/plugins/hf/load/test_start.py",
    "adapter.merge_first": "there is no adapter yet: tests/plugins/hf/load/test_start.py",
    "quantization.experts": "a Llama has no experts: tests/plugins/hf/load/test_packed_experts.py",
    "adapter.experts": "a Llama has no experts: tests/plugins/hf/test_twins.py",
    "adapter.bias": "a Llama has no biases: tests/plugins/hf/load/test_adapter_settings.py",
}
Outcome = Callable[..., Any]


@pytest.fixture(scope="module")
def outcome(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return what a training with some settings leaves: steps, facts, weights and checkpoints."""

    def left(**more: str) -> Any:
        folder = tmp_path_factory.mktemp("run")
        with opened(make(base, rows, folder, *(f"{key}={value}" for key, value in {**PLAIN, **more}.items()))) as (
            model,
            data,
        ):
            result, steps = train(model, data, folder)
            facts = dict(model.facts)
        weights = hashlib.sha256((folder / "checkpoint" / "adapter_model.safetensors").read_bytes()).hexdigest()
        told = [(step.step, step.loss, step.learning_rate, step.grad_norm, step.eval_loss) for step in steps]
        saved = sorted(path.name for path in (folder / RunFolder.TRAINING_STATE).glob("step-*"))
        return told, facts, weights, saved, result.steps, result.computed_tokens

    return left


@pytest.fixture(scope="module")
def plain(outcome: Outcome) -> Any:
    return outcome()


def test_each_setting_is_changed_or_has_a_reason() -> None:
    every = {f"{group}.{each.name}" for group, schemas in SCHEMAS.items() for each in chain(*map(fields, schemas))}
    assert every == CHANGED.keys() | TOGETHER.keys() | REASONS.keys()


@pytest.mark.parametrize("name", CHANGED)
def test_a_setting_that_is_changed_changes_the_training(name: str, outcome: Outcome, plain: Any) -> None:
    assert outcome(**{name: CHANGED[name]}) != plain


@pytest.mark.parametrize("name", TOGETHER)
def test_so_does_one_that_needs_another(name: str, outcome: Outcome) -> None:
    changed = TOGETHER[name]
    assert outcome(**changed) != outcome(**{key: value for key, value in changed.items() if key != name})
