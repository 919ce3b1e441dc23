"""exports/parity/weights.py: each weight of a merge is the trained one, and a single one that is not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from framework import testing
from framework.api.plan import Plan
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.parity.weights import trained_products, weights_problem
from tests.support.bases import adapted, tiny_base

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "saved head": {"modules_to_save": ["lm_head"]},
    "tokens": {"trainable_token_indices": [3, 5]},
}
"""Adapters, by settings of peft."""


class Trained:
    """An adapter on a base in bf16."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.base = folder, tiny_base(folder / "base", "llama", dtype="bfloat16")
        adapted(self.base, folder / "adapter", r=2, **settings)

    @property
    def plan(self) -> Plan:
        return testing.plan(["model=local", f"model.path='{self.base}'", "exporter=[]"], run_dir=self.folder / "run")

    def loaded(self, dtype: torch.dtype) -> Any:
        from peft import PeftModel

        return PeftModel.from_pretrained(load(self.base, dtype), self.folder / "adapter")


def load(folder: Path, dtype: torch.dtype | str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_in_each_format_has_the_trained_weights(kind: str, tmp_path: Path) -> None:
    trained = Trained(tmp_path, **KINDS[kind])
    for held, formats in ((torch.float32, (Dtype.fp32, Dtype.bf16)), (torch.bfloat16, (Dtype.fp16,))):
        expected = trained_products(trained.loaded(held))
        for dtype in formats:
            merge(trained.plan, tmp_path / "adapter", folder := tmp_path / dtype.value, dtype=dtype)
            # What does not fit in 32 bits is held in those 16 that it has, see `reference_logits`.
            assert weights_problem(load(folder, torch.float32), expected) == ""
            assert weights_problem(load(folder, torch.bfloat16 if dtype is Dtype.fp32 else "auto"), expected) == ""
        assert " of 21 weights are not those of the training" in weights_problem(load(trained.base, held), expected)


PROJECTION, HEAD = "model.layers.1.self_attn.k_proj.weight", "lm_head.weight"


def unmerged(weights: dict[str, torch.Tensor], base: dict[str, torch.Tensor]) -> None:
    weights[PROJECTION].copy_(base[PROJECTION])


def warmer(weights: dict[str, torch.Tensor], _: Any) -> None:
    weights[HEAD].mul_(1.01)


def swapped(weights: dict[str, torch.Tensor], _: Any) -> None:
    for name, weight in weights.items():
        if ".layers.0." in name:
            other, mine = weights[name.replace(".0.", ".1.")], weight.clone()
            weight.copy_(other)
            other.copy_(mine)


def one_row(weights: dict[str, torch.Tensor], _: Any) -> None:
    weights["model.embed_tokens.weight"][7] = 0


def no_number(weights: dict[str, torch.Tensor], _: Any) -> None:
    weights[PROJECTION][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (unmerged, f"1 of 21 weights are not those of the training: {PROJECTION} by "),
        (warmer, f"1 of 21 weights are not those of the training: {HEAD} by 0.01 of its size"),
        (swapped, "14 of 21 weights are not those of the training: model.layers."),
        (one_row, "1 of 21 weights are not those of the training: model.embed_tokens.weight by "),
        (no_number, f"1 of 21 weights are not those of the training: {PROJECTION} by nan"),
    ],
)
def test_a_weight_that_is_not_the_trained_one_is_named(
    change: Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], None], told: str, tmp_path: Path
) -> None:
    trained = Trained(tmp_path)
    expected = trained_products(trained.loaded(torch.float32))
    model = trained.loaded(torch.float32).merge_and_unload()
    assert weights_problem(model, expected) == ""
    change(dict(model.state_dict()), load(trained.base, torch.float32).state_dict())
    assert weights_problem(model, expected).startswith(told)
