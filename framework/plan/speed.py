"""How long a training takes on a card, worked out from bytes and operations, and how far published rates are from it.

A pass takes the time of its products at the card's full rate and that of its bytes at the card's full bandwidth, or
that of starting all kernels from Python if that is longer. Hardly any training reaches that.
`benchmarks/rates.csv` has what others measured; `python -m benchmarks.rates` compares.
"""

from __future__ import annotations

import math
from dataclasses import replace

from framework.memory import MemorySettings, Shape, Weights, terms
from framework.memory.terms import trained_parameters
from framework.util.gpus import Card

FASTEST, SLOWEST = 0.87, 2.68
"""The smallest and the largest factor between a published training and what is worked out here, and a tenth beyond."""
LAUNCH_SECONDS = 5e-6
"""What torch takes to start a kernel from Python."""
LAYER_KERNELS, ADAPTED_KERNELS = 60, 8
"""Kernels of a layer's forward pass, and those that LoRA adds for each layer that it adapts."""
ANSWER_SLOWEST = 2.9
"""The same largest factor for a new token of an answer."""
STORED = {Weights.fp32: 4.0, Weights.half: 2.0, Weights.int8: 4.0, Weights.nf4: 4.5}
"""Bytes that go through memory for a weight whenever a product reads it: packed ones are read, written and read, and
fp32 ones are copied once."""
LOGIT_BYTES = 40
"""Bytes that go through memory for a logit: its fp32 copy is read and written some ten times."""


def flops(shape: Shape, settings: MemorySettings, tokens: float, learned: float, length: float) -> float:
    """Return the operations of training on `tokens` tokens.

    A token takes 2 operations a weight forward and 2 backward for its own gradient, 2 more for the weight's where that
    is trained, and 2 more with checkpointing, which goes forward twice (Kaplan et al., arXiv 2001.08361, section 2.1).
    A pair of tokens takes 4 a feature of the queries in attention, half of the pairs being masked, and three
    times that for both passes. The head is at the learned tokens, or at all where the loss is a plain one.
    """
    again = 2 if settings.checkpointing else 0
    weights = shape.active_parameters * (4 + again + (2 if settings.full else 0))
    adapter = 0 if settings.full else trained_parameters(shape, settings) * (6 + again)
    queries = sum(block.q * count for block, count in shape.counts.items())
    attention = 4 * queries * length / 2 * (3 + again / 2)
    head = shape.hidden * shape.vocab * (6 if settings.full else 4)
    return tokens * (weights + adapter + attention) + learned * head


def pass_seconds(
    shape: Shape, settings: MemorySettings, card: Card, tokens: float, learned: float, length: float
) -> float:
    """Return what a forward and backward pass takes at the least.

    Weights are read in each of two or three passes through the layers. What a layer keeps is written and read, and its
    gradient too, and with checkpointing it is made twice.
    """
    again = 1 if settings.checkpointing else 0
    pass_settings = replace(
        settings, rows=1, length=max(1, round(tokens)), masked=False, activation_bytes=0.0, process=0.0
    )
    saved_bytes = sum(sum(terms.layer(shape, block, pass_settings)) * count for block, count in shape.counts.items())
    moved = STORED[settings.weights] * shape.active_parameters * (2 + again) + saved_bytes * (4 + again)
    moved += LOGIT_BYTES * learned * shape.vocab + 3 * 2 * shape.vocab * shape.hidden
    moved += 2 * terms.trained_bytes(settings) * trained_parameters(shape, settings)  # gradients are added up
    device = flops(shape, settings, tokens, learned, length) / card.operations + moved / card.bandwidth
    return max(device, _launch_seconds(shape, settings) * (3 + again))


def optimizer_seconds(shape: Shape, settings: MemorySettings, card: Card) -> float:
    """Return what an optimizer step takes: weights and states are read and written, and gradients read."""
    moved = 3 * terms.trained_bytes(settings) * trained_parameters(shape, settings)
    return (moved + 2 * terms.optimizer_states(shape, settings)) / card.bandwidth


def token_seconds(shape: Shape, settings: MemorySettings, card: Card) -> float:
    """Return what another token of each answer of a batch takes: weights, keys and values are read, kernels started."""
    weights = STORED[settings.weights] * shape.active_parameters + 2 * shape.vocab * shape.hidden
    return (weights + terms.kv_cache(shape, settings)) / card.bandwidth + _launch_seconds(shape, settings)


def rows_of_a_pass(settings: MemorySettings, mean: float) -> float:
    """Return how many rows go into a pass: a tree is one row, of as many as it has room for."""
    tree = settings.masked and settings.rows == 1
    return max(1.0, settings.length / mean) if tree else float(settings.rows)


def step_seconds(
    shape: Shape, settings: MemorySettings, card: Card, *, rows: float, tokens: float, learned: float, length: float
) -> float:
    """Return what an optimizer step takes at the least.

    Args:
        shape: of the model.
        settings: how it trains.
        card: where.
        rows: of a step.
        tokens: of a step that go through the model.
        learned: of a step, those that something is learned from.
        length: of a row.
    """
    passes = math.ceil(rows / rows_of_a_pass(settings, tokens / rows))
    pass_time = pass_seconds(shape, settings, card, tokens / passes, learned / passes, length)
    return passes * pass_time + optimizer_seconds(shape, settings, card)


def _launch_seconds(shape: Shape, settings: MemorySettings) -> float:
    """Return what it takes to start the kernels of a forward pass."""
    adapted = 0 if settings.full else sum(
        count * sum(part.name in settings.targets for part in block.linears) for block, count in shape.counts.items()
    )  # fmt: skip
    return LAUNCH_SECONDS * (LAYER_KERNELS * shape.layers + ADAPTED_KERNELS * adapted)
