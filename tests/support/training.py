"""Runs of the HF backend on a tiny model, opened and trained inside a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework import Plan, Selection
from framework.api.process_group import Evaluation
from framework.api.registry import plugins
from framework_gpu_tests.training import make, opened, train
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.train.step import CheckedObjective
from framework_plugins.methods.config import CrossEntropyConfig
from framework_plugins.methods.cross_entropy import CrossEntropy

__all__ = ["PLAIN_LOSS", "chosen", "make", "make_for_group", "opened", "train", "with_adapter"]
PLAIN_LOSS = CheckedObjective(CrossEntropy(CrossEntropyConfig()), "loss=cross_entropy", 1 << 20, plain=True)


def chosen(group: str, option: str, **settings: Any) -> Selection:
    """Return an option with settings, as a plan holds it."""
    component = plugins().components(group)[option]
    return Selection(component, component.schema(**settings))


def make_for_group(base: Path, rows: Path, run_dir: Path, *words: str, **fsdp2: Any) -> Plan:
    """Plan a run; with `launch=fsdp2`, and more settings of it, on a CPU too, where `group_plugin` starts it.

    The model is split while it is evaluated.
    """
    ddp = ["launch=ddp" if word == "launch=fsdp2" else word for word in words]
    plan = make(base, rows, run_dir, *ddp)
    if "launch=fsdp2" not in words:
        return plan
    config: Any = plan.launch.config
    settings = {"processes": config.processes, "evaluation": Evaluation.split} | fsdp2
    return replace(plan, launch=chosen("launch", "fsdp2", **settings))


@contextmanager
def with_adapter(folder: Path, tiny: Callable[[Path], Path]) -> Iterator[HFModel]:
    """Open a tiny model, written by `tiny` into a folder, with an adapter that changes what it says."""
    import torch

    rows = folder / "rows.jsonl"
    rows.write_text('{"instruction": "Add 1 and 1.", "output": "2"}\n' * 4, encoding="utf-8")
    with opened(make(tiny(folder / "model"), rows, folder / "run")) as (model, _):
        for name, weight in model.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
        yield model
