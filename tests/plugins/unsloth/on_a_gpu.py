"""What `trainer=unsloth` does with the code that Unsloth runs on a GPU; prints what it found of each case as JSON.

For a process of its own with `UNSLOTH_ALLOW_CPU=1`: `standins.py` lets that code run here.
"""

from __future__ import annotations

import framework_plugins.unsloth.import_unsloth  # noqa: F401 - before all that it changes

# isort: split
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from framework import testing
from framework.api.records import TokenRow
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.passes import is_checkpointing
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.packing.parts import Part
from framework_plugins.unsloth import compare
from framework_plugins.unsloth.backend import Loading
from tests.plugins.unsloth import standins
from tests.plugins.unsloth.runs import CASES, PLACE, rows
from tests.support.bases import tiny_base


def bases(folder: Path) -> Iterator[Path]:
    """Write a tiny model of each kind: Llama, Llama's weights as Mistral with a window, Qwen 3."""
    yield tiny_base(folder / "llama", "llama")
    base = tiny_base(folder / "mistral", "llama")
    file = base / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 16}
    file.write_text(json.dumps(config), encoding="utf-8")
    yield base
    yield tiny_base(folder / "qwen3", "qwen3")


def seen(model: HFModel, of: Sequence[TokenRow]) -> list[torch.Tensor]:
    """Return the logits of each row in training mode: (learned, vocabulary)."""
    losses, packer = model.open_losses().passes.losses, model.packer(model.open_losses().passes.losses, len(of))
    model.model.train()
    found: dict[int, torch.Tensor] = {}
    for part, located in packer.parts_with_rows(of):
        logits = torch.cat([block for _, block in losses.logit_chunks(losses.states_or_logits(part))])
        found |= {id(row): logits[places] for row, places in located}
    return [found[id(row)] for row in of]


def lost(model: HFModel, of: Sequence[TokenRow]) -> float:
    """Return the loss of rows in training mode."""
    losses: Losses = model.open_losses().passes.losses
    model.model.train()
    parts: list[Part] = model.packer(losses, len(of))(of)
    return sum(losses.sum(part).item() for part in parts)


def changed_by_a_token(model: HFModel) -> dict[str, Any]:
    """Replace a token, and return how far logits before it, after it, and of the other row are moved, and the loss."""
    before, after = (seen(model, rows(changed)) for changed in (0, 1))
    (first, other) = ((one - two).abs().amax(-1) for one, two in zip(before, after, strict=True))
    lost_before, lost_after = (lost(model, rows(changed, PLACE)) for changed in (0, 1))
    # The logits at a place are learned from by the token behind it.
    return {
        "earlier": first[: PLACE - 1].max().item(),
        "later": first[PLACE:].max().item(),
        "other": other.max().item(),
        "loss": abs(lost_before - lost_after),
    }


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """Check each kind of model as it is packed by itself, and Llama also without xformers and padded."""
    models, steps = {base.name: base for base in bases(folder)}, {}
    for name, with_xformers, packing, dtype in CASES:
        if with_xformers:
            standins.install_xformers()
        base, place = models[name], folder / f"{name}-{dtype}-step"
        words = ["trainer=unsloth", "trainer.device=cpu", f"trainer.dtype={dtype}", f"trainer.packing={packing}"]
        plan = testing.plan([*words, "model=local", f"model.path={base}"], run_dir=folder / "run")
        with Loading(plan.trainer.config).open(plan) as model:
            found = {"model": name, "xformers": with_xformers, "asked": packing, "dtype": dtype}
            found |= {"packing": model.facts["packing"], "shared": model.forward_plan.prefix_reusable}
            if place not in steps:
                place.mkdir()
                config = json.loads((base / "config.json").read_text(encoding="utf-8"))
                steps[place] = compare.plain(model, config, place)
            found["problem"] = compare.problem(model, Loading, place, steps[place])
            found |= {"evaluated": model.loss(rows()), "biases": len(standins.biases), "fused": len(standins.fused)}
            yield found | changed_by_a_token(model)
        standins.biases.clear()
        standins.fused.clear()


def checkpointing(base: Path, folder: Path) -> dict[str, Any]:
    """Answer in a validation, and return where activations are computed again while answering, and after it."""
    words = ["trainer=unsloth", "trainer.device=cpu", "trainer.dtype=bf16", "trainer.gradient_checkpointing=enabled"]
    plan = testing.plan([*words, "model=local", f"model.path={base}"], run_dir=folder / "run")
    found: list[bool] = []
    with Loading(plan.trainer.config).open(plan) as model:

        def measure() -> dict[str, float]:
            model.complete([[5, 6, 7]], max_new_tokens=2, batch_size=1)
            found.append(is_checkpointing(model.model))
            return {}

        model.validate([], SimpleNamespace(measure=measure))  # type: ignore[arg-type]
        return {"answering": found, "after": is_checkpointing(model.model)}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for case in (*cases(place), checkpointing(place / "llama", place)):
        sys.stdout.write(json.dumps(case) + "\n")
