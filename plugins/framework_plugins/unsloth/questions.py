"""Tests of a trainer, with a tiny copy of a run's model: whether it does what the run needs.

The architecture is loaded, with this adapter and this quantization, on this machine; the loss in evaluation is that of
the rows one by one; prompts are answered; and a step of eight rows at once, of four and four, and of two at a time are
the same step, in the loss and in the gradient of every weight. Where a group of processes is to train, two of them make
that step together.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from framework.api.commands import load_config, make_plan
from framework.api.errors import FrameworkError
from framework.api.plan import Plan, Selection
from framework.api.protocols import Backend
from framework.api.records import IGNORE, TokenRow
from framework.api.text import summarize_error
from framework_plugins.hf.config import Device, HFTrainerConfig
from framework_plugins.hf.model import HFModel
from framework_plugins.unsloth import twin
from framework_plugins.unsloth.together import TWO, step_together
from framework_plugins.unsloth.tried import Tried, fill, settled, step

LAYOUTS = ((8, 1), (4, 2), (2, 4))
"""Rows in a pass, and passes in a step."""
EXACT, ROUNDED = 1e-3, 5e-2
"""How far losses and gradients may lie apart, in fp32 and in 16 or fewer bits: as a share of the largest."""
ROWS, LENGTH, BEGIN = 8, 24, 6
ANSWER = 4
ADVICE = re.compile(r"(: |\. |, or )[Ss]et .*$")
"""Whoever has tried it reports what to set instead."""
log = logging.getLogger(__name__)


def device(config: HFTrainerConfig) -> str:
    """Return what is trained on, `cpu` or `cuda`."""
    return "cuda" if config.device is not Device.cpu and torch.cuda.is_available() else "cpu"


def problem(config: Mapping[str, Any], **choices: Selection) -> str:
    """Return what does not work, empty where all does, or where a twin cannot be made to see it.

    Args:
        config: what config.json says.
        **choices: the run's trainer, adapter, quantization and launch.
    """
    with tempfile.TemporaryDirectory() as place:
        try:
            base = twin.make(config, Path(place, "model"))
        except Exception as error:  # noqa: BLE001 - of transformers, about an architecture that it cannot make small
            log.warning("no twin: %s", summarize_error(error))
            return ""
        try:
            return next(_problems(_plan(base, **choices), Path(place)), "")
        except FrameworkError as error:
            return ADVICE.sub("", str(error).splitlines()[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, it would end the run
            return summarize_error(error)


def _plan(base: Path, trainer: Selection, adapter: Selection, quantization: Selection, launch: Selection) -> Plan:
    """Return a plan for the twin that trains as the run does; of a group with several processes here, with two."""
    words = ["model=local", f"model.path={base}", "data=local_file", "data.path=rows", "logger=[]", "evaluator=[]"]
    plan = make_plan(load_config([*words, "exporter=[]", "objective=train_loss"]), run_dir=base.with_name("run"))
    if hasattr(trainer.config, "optimised_checkpoints"):
        trainer = dataclasses.replace(trainer, config=dataclasses.replace(trainer.config, optimised_checkpoints=False))
    if getattr(adapter.config, "lora_dropout", 0):  # another way through the layers, and no chance in it
        adapter = dataclasses.replace(adapter, config=dataclasses.replace(adapter.config, lora_dropout=twin.NO_DROPOUT))
    if group := launch.config.group():
        here = dataclasses.replace(launch.config, processes=min(TWO, group.processes))
        launch = dataclasses.replace(launch, config=here)
    return dataclasses.replace(plan, trainer=trainer, adapter=adapter, quantization=quantization, launch=launch)


def _problems(plan: Plan, place: Path) -> Iterator[str]:
    rows, made = _rows(), []
    for batch in LAYOUTS:
        each = settled(plan, batch, LENGTH)
        backend: Backend = each.trainer.create()
        with backend.open(each) as opened:
            model: HFModel = opened  # type: ignore[assignment] # of the one backend or the other
            fill(model.model)
            allowed = EXACT if model.machine.dtype is torch.float32 and model.machine.device == "cpu" else ROUNDED
            if batch == LAYOUTS[0]:
                yield from _evaluated(model, rows, allowed)
            made.append(step(model, rows, place, f"{batch[0]}x{batch[1]}"))
    first, *others = made
    yield from (f"accumulation is wrong: {told}" for told in _unequal(first, others, allowed))
    if (group := plan.launch.config.group()) and group.processes == TWO:
        half = settled(plan, (ROWS // TWO, 1), LENGTH)
        together = step_together(half, rows, place, f"{ROWS // TWO}x1 in two processes")
        launch = f"launch={plan.launch.component.name} is wrong"
        yield from (f"{launch}: {told}" for told in _unequal(first, [together], allowed))


def _unequal(first: Tried, others: list[Tried], allowed: float) -> Iterator[str]:
    """Say where the same rows in other layouts are another step."""
    yield from filter(None, (first.apart(other, allowed) for other in others))


def _evaluated(model: HFModel, rows: list[TokenRow], allowed: float) -> Iterator[str]:
    """Look at the loss in evaluation, and have prompts answered."""
    expected, found = _one_by_one(model.model.eval(), rows), model.loss(rows)
    if not abs(found - expected) <= allowed * expected:
        yield f"its loss in evaluation is {found:.4f}, and that of the rows one by one {expected:.4f}"
    model.complete([row.input_ids[:BEGIN] for row in rows], max_new_tokens=ANSWER, batch_size=ROWS)


def _rows() -> list[TokenRow]:
    """Return rows of different lengths that begin alike, of which a part is learned, a different one of each."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randint(4, twin.VOCABULARY, (BEGIN,), generator=draw).tolist()
    rows = []
    for number in range(ROWS):
        ids = start + torch.randint(4, twin.VOCABULARY, (LENGTH - BEGIN - number,), generator=draw).tolist()
        asked = BEGIN + 2 + number
        rows.append(TokenRow(ids, [IGNORE] * asked + ids[asked:]))
    return rows


@torch.no_grad()
def _one_by_one(model: Any, rows: list[TokenRow]) -> float:
    """Return the mean loss over the learned tokens, each row by itself and through the model as it is."""
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor([row.input_ids], device=model.device)
        labels = torch.tensor(row.labels[1:], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        total += functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum").item()
        count += int((labels != IGNORE).sum())
    return total / count
