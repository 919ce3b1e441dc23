"""What a training has to do: steps, operations, and the time by what this machine did before."""

from __future__ import annotations

import math

from framework.api.plan import Plan
from framework.api.records import Work
from framework.memory import MemorySettings, Shape
from framework.memory.terms import trained_parameters
from framework.plan.history import KnownRows, speeds

MARGIN = 1.25
"""How far a run may be from the slowest and the fastest that are known: other lengths and packings differ so much."""


def work(plan: Plan, shape: Shape, settings: MemorySettings, known: KnownRows, device: str) -> Work:
    """Return what the training has to do.

    Args:
        plan: the run.
        shape: the model.
        settings: how it is trained.
        known: the rows.
        device: whose earlier runs tell the speed.
    """
    training, batch = plan.training, plan.batch
    an_epoch = math.ceil(known.rows / batch)
    steps = training.max_steps or math.ceil(training.num_train_epochs * an_epoch)
    epochs = steps / an_epoch
    computed = known.tokens * known.computed
    operations = epochs * flops(shape, settings, computed, known.supervised_tokens, known.tokens / known.rows)
    past = speeds(speed_key(device, settings))
    slowest, fastest = (min(past) / MARGIN, max(past) * MARGIN) if past else (None, None)
    return Work(
        rows=known.rows,
        tokens=known.tokens,
        supervised_tokens=known.supervised_tokens,
        steps=steps,
        epochs=round(epochs, 2),
        flops=operations,
        seconds_low=operations / fastest if fastest else None,
        seconds_high=operations / slowest if slowest else None,
    )


def speed_key(device: str, settings: MemorySettings) -> str:
    """Return what a speed is kept under: trainings of one kind reach about the same on a device."""
    kind = f"{device}, {settings.weights.value}, {'all weights' if settings.full else 'adapter'}"
    if settings.processes > 1:
        kind += f", {settings.processes} {'pieces' if settings.sharded else 'copies'}"
    return kind


def flops(shape: Shape, settings: MemorySettings, tokens: float, learned: float, length: float) -> float:
    """Return the operations of training on `tokens` tokens.

    A token takes 2 operations a weight forward and 2 backward for its own gradient, 2 more for the weight's where that
    is trained, and 2 more with checkpointing, which goes forward twice (Kaplan et al., arXiv 2001.08361, section 2.1).
    A pair of tokens takes 4 a feature of the queries in attention, half of the pairs being masked, and three
    times that for both passes. The head is at the learned tokens, or at all where the loss is a plain one.
    """
    again = 2 if settings.checkpointing else 0
    weights = shape.linear_parameters * (4 + again + (2 if settings.full else 0))
    adapter = 0 if settings.full else trained_parameters(shape, settings) * (6 + again)
    attention = shape.layers * 4 * shape.q * length / 2 * (3 + again / 2)
    head = shape.hidden * shape.vocab * (6 if settings.full else 4)
    return tokens * (weights + adapter + attention) + learned * head
