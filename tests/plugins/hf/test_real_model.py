"""The real SmolLM2 on the quickstart's rows: in every packing loss and gradients are those of the rows one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from framework.config import compose
from framework.config.check import check
from framework.data.stage import load_data
from framework.plan.make import make_plan
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.settings.config import Packing

ROWS = 6
Made = tuple[float, torch.Tensor]


def gradient(model: Any) -> torch.Tensor:
    """Return all gradients as one vector."""
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@pytest.mark.slow  # 24 passes of a hundred tokens through 135M weights; test_losses.py shows the same of small models
def test_a_tree_on_the_real_model_is_the_same_training(tmp_path: Path) -> None:
    config = compose.compose(["+experiment=quickstart", "trainer.dtype=fp32", "logger=[]"])
    check(config)
    plan = make_plan(config, run_dir=tmp_path / "run")
    with HFBackend(plan.trainer.config).open(plan) as opened:
        data = load_data(plan, opened)
        rows = [data.train[number] for number in range(ROWS)]
        losses, model = opened.evaluation.passes.losses, opened.model
        assert losses.packing is Packing.tree
        assert losses.head is not None
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.01, generator=torch.Generator().manual_seed(len(name)))
        model.train()

        def made(packing: Packing, *, masked: bool = False) -> Made:
            model.zero_grad()
            total = 0.0
            packer = replace(opened.packer(losses, ROWS), packing=packing, masked=masked)
            for part in packer(rows):
                loss = losses.sum(part)
                torch.autograd.backward(loss)
                total += loss.item()
            return total, gradient(model)

        model.zero_grad()
        wanted = 0.0
        for row in rows:  # as transformers has it, the loss in fp64 of its logits
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].double()
            loss = functional.cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="sum")
            torch.autograd.backward(loss)
            wanted += loss.item()
        plain = gradient(model)
        for packing, masked in (
            (Packing.none, False),
            (Packing.pad, False),
            (Packing.tree, False),
            (Packing.tree, True),
        ):
            total, found = made(packing, masked=masked)
            assert total == pytest.approx(wanted, rel=1e-5)
            assert float((found - plain).norm() / plain.norm()) < 1e-5, (packing, masked)
