"""hf/load/split_weights.py: a model whose layers are on several devices computes what it computes on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from framework.api.data import answer_rows
from framework.api.records import Message, Prompt
from framework_plugins.hf.model import HFModel
from tests.support.training import make, opened

SPLIT = (
    "launch=fsdp2",
    "launch.processes=2",
    "launch.evaluation=split",
    "trainer.device=cpu",
    "stages=[data,evaluate]",
)


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
    drawn = model.sample(prompts, 2, max_new_tokens=6, temperature=1.0, top_p=1.0, seed=1)
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
    with opened(make(base, rows, tmp_path / "whole", "trainer.device=cpu", *words)) as (model, data):
        expected = measured(model, answer_rows(data.validation_groups))
    with opened(make(base, rows, tmp_path / "split", *SPLIT, *words)) as (model, data):
        assert model.facts["evaluation"] == "layers split into 2 parts on the CPU (launch.evaluation=split)"
        found = measured(model, answer_rows(data.validation_groups))
    for name, values in expected.items():
        assert found[name] == (values if isinstance(values[0], str | list) else pytest.approx(values, rel=1e-6)), name
    assert expected["base"] != expected["answers"]
