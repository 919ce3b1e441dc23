"""The process in which Unsloth is asked what it can do: it trains a tiny twin of a run's model as the run would.

Not for users. `capabilities.py` starts it with a plan and a config.json on standard input, and reads one line of JSON:
the answer. What is tried: the architecture is loaded, with this adapter and this quantization, on this machine; the
loss in evaluation is that of the rows one by one; prompts are answered; and a step of eight rows at once, of four and
four, and of two at a time are the same step.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import framework_unsloth.first as unsloth  # before all that it changes

import torch
from torch.nn import functional

from framework.compose import compose
from framework.errors import FrameworkError, one_line
from framework.plan import Choice, Plan, make_plan
from framework.protocols import TrainRun
from framework.records import IGNORE, Step, TokenRow
from framework_unsloth import twin
from framework_unsloth.backend import UnslothBackend
from framework_unsloth.config import UnslothTrainerConfig

LAYOUTS = ((8, 1), (4, 2), (2, 4))
"""Rows in a pass, and passes in a step."""
EXACT, ROUNDED = 1e-3, 5e-2
"""How far losses and gradients may lie apart, in fp32 and in 16 or fewer bits."""
ROWS, LENGTH, BEGIN = 8, 24, 6
ANSWER = 4
log = logging.getLogger(__name__)


def main() -> int:
    """Answer on what was standard output; what libraries print goes to standard error."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    question = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
    found = {"device": unsloth.DEVICE_TYPE, "gpus": torch.cuda.device_count(), "problem": problem(**question)}
    print(json.dumps(found), file=answer, flush=True)
    return 0


def problem(config: Mapping[str, Any], **choices: Choice) -> str:
    """Return what does not work, empty where all does, or where a twin cannot be made to see it.

    Args:
        config: what config.json says.
        **choices: the run's trainer, adapter and quantization.
    """
    with tempfile.TemporaryDirectory() as place:
        try:
            base = twin.make(config, Path(place, "model"))
        except Exception as error:  # noqa: BLE001 - of transformers, about an architecture that it cannot make small
            log.warning("no twin: %s", one_line(error))
            return ""
        try:
            return next(_problems(_plan(base, **choices), Path(place)), "")
        except FrameworkError as error:
            return str(error).splitlines()[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it would end the run
            return one_line(error)


def _plan(base: Path, trainer: Choice, adapter: Choice, quantization: Choice) -> Plan:
    """Return a plan for the twin that trains as the run does."""
    words = ["model=local", f"model.path={base}", "data=local_file", "data.path=rows", "logger=[]", "evaluator=[]"]
    plan = make_plan(compose([*words, "exporter=[]", "objective=train_loss"]), run_dir=base.with_name("run"))
    settings = {"max_steps": 1, "warmup_steps": 0, "eval_steps": None, "keep_best": False, "max_seq_length": LENGTH}
    tried = dataclasses.replace(trainer.config, **settings, optimised_checkpoints=False)
    trainer = dataclasses.replace(trainer, config=tried)
    return dataclasses.replace(plan, trainer=trainer, adapter=adapter, quantization=quantization)


def _problems(plan: Plan, place: Path) -> Iterator[str]:
    rows, made = _rows(), []
    for layout in LAYOUTS:
        training: UnslothTrainerConfig = dataclasses.replace(
            plan.trainer.config, per_device_train_batch_size=layout[0], gradient_accumulation_steps=layout[1]
        )
        each = dataclasses.replace(plan, trainer=dataclasses.replace(plan.trainer, config=training))
        steps: list[Step] = []
        with UnslothBackend(training).open(each) as model:
            allowed = EXACT if model.machine.dtype is torch.float32 and model.machine.device == "cpu" else ROUNDED
            if layout == LAYOUTS[0]:
                expected, found = _one_by_one(model.model.eval(), rows), model.loss(rows)
                if _apart(found, expected) > allowed:
                    yield f"its loss in evaluation is {found:.4f}, and that of the rows one by one {expected:.4f}"
                model.complete([row.input_ids[:BEGIN] for row in rows], max_new_tokens=ANSWER, batch_size=ROWS)
            model.train(rows, [], TrainRun(place / "checkpoint", place / "scratch", steps.append))
        made.append((layout, steps[0].loss, steps[0].grad_norm))
    yield from _unequal(made, allowed)


def _unequal(made: list[tuple[tuple[int, int], float, float]], allowed: float) -> Iterator[str]:
    """Say where the same rows in other layouts are another step."""
    (first, loss, norm), *others = made
    for layout, other_loss, other_norm in others:
        if _apart(other_loss, loss) > allowed or _apart(other_norm, norm) > allowed:
            yield (
                f"accumulation is wrong: {first[0]}x{first[1]} has the loss {loss:.4f} and gradients of the norm "
                f"{norm:.4f}, {layout[0]}x{layout[1]} of the same rows {other_loss:.4f} and {other_norm:.4f}"
            )


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


def _apart(one: float, other: float) -> float:
    return abs(one - other) / abs(other)


if __name__ == "__main__":
    sys.exit(main())
