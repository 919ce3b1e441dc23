"""How many tokens a forward pass has: what the plan counts with, and what `packing/` cuts rows by. Without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from framework import Plan
from framework.api import host_memory
from framework_plugins.hf.settings.config import FullConfig, HFTrainerConfig, LoraAdapterConfig, Packing

P = TypeVar("P")
CPU_PASS_TOKENS, MAX_SLOWDOWN = 1024, 1.03
"""On a CPU, a pass of this many tokens is as fast per token as a longer one, and needs less memory: rows are cut into
parts of this size if the cost grows by at most this factor."""
MIN_SAVED_TOKENS = 32
"""A common beginning becomes a separate node if that saves this many tokens: another node costs about the same time."""
GPU_PASS_TOKENS, MIN_KEPT_TOKENS = 8192, 512
"""On a GPU, tokens of a pass beyond which a longer one is no faster per token; and tokens below which passes that keep
their activations lose more, since each of them reads all weights, than longer ones that compute them again."""
PASS_STEP = 256
"""Tokens by which passes differ that memory limits, so that a little more or less of it changes nothing."""


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How large the passes of a training are.

    Attributes:
        tokens: of a pass; 0: `trainer.per_device_train_batch_size` rows.
        kept: tokens of the longest pass that keeps its activations; None: all do, or none, as checkpointing is set.
    """

    tokens: int = 0
    kept: int | None = None


def cpu_room() -> int:
    """Return the bytes that passes with all rows of a step may need: half of the machine's memory.

    What is free differs from one start to the next, and a training that continues has to make the same passes again.
    """
    return host_memory().total // 2


# Checkpointing costs a quarter of the speed, and a small model fits without it.
def decides_passes(plan: Plan) -> bool:
    """Whether the arithmetic decides how large a pass is, and on a GPU from which size on activations are recomputed.

    Where it is wrong, memory runs out once, and the step is repeated with smaller passes; a group cannot repeat a step,
    and Unsloth's kind of checkpointing is chosen when the model is loaded.
    """
    is_built_in = isinstance(plan.adapter.config, LoraAdapterConfig | FullConfig)
    return plan.trainer.config.checkpoints_later and is_built_in and plan.launch.config.group() is None


def largest_pass(
    config: HFTrainerConfig, longest: int, shared: int, mean: int, *, on_gpu: bool, tree: bool
) -> tuple[int, int]:
    """Return rows and tokens of the largest pass: where rows of the longest kind meet, or average ones are not cut.

    A tree has at most the tokens of as many padded rows; on a CPU it is cut smaller unless that costs too much. A
    common beginning that is repeated weighs more among shorter rows, so a step of average rows may stay whole where one
    of the longest is cut, and be the larger pass of the two.
    """
    rows, tokens = (1 if config.packing is Packing.none else config.per_device_train_batch_size), config.pass_tokens
    step = rows * config.gradient_accumulation_steps
    if not tree:
        return (min(step, max(1, tokens // longest)) if tokens else rows), longest
    if on_gpu or tokens:
        return 1, cut_into_trees(step, longest, shared, tokens or rows * longest)[0]
    even, mixed = (_pass_on_a_cpu(rows, step, length, shared, mixed=length < longest) for length in (longest, mean))
    return 1, max(even, mixed)


def _pass_on_a_cpu(rows: int, step: int, length: int, shared: int, *, mixed: bool) -> int:
    """Return the tokens of a pass of rows of this length on average.

    The passes of mixed rows are not as full as those of even ones, and the last may hold too few to share their
    beginning: they repeat it once more.
    """

    def cut(limit: int) -> tuple[int, int]:
        tree, cost = cut_into_trees(step, length, shared, limit)
        return tree, min(cost + shared * mixed, step * length)  # a row by itself repeats all that there is

    budget = rows * length
    large = cut_into_trees(step, length, shared, budget)
    return smaller_on_a_cpu(large, cut, budget, length, lambda passes: passes[0], lambda passes: passes[1])[0]


def smaller_on_a_cpu(
    passes: P,
    cut: Callable[[int], P],
    budget: int,
    longest: int,
    largest: Callable[[P], int],
    cost: Callable[[P], float],
) -> P:
    """Return smaller passes if these are larger than a CPU needs, and those cost little more.

    Args:
        passes: as large as the budget has them.
        cut: makes passes within a number of tokens.
        budget: tokens of a pass.
        longest: tokens of the longest row, or of rows that stay in one pass.
        largest: the tokens of the largest of some passes.
        cost: of passes.
    """
    if largest(passes) <= CPU_PASS_TOKENS:
        return passes
    smaller = cut(min(budget, max(CPU_PASS_TOKENS, longest)))
    return smaller if cost(smaller) <= MAX_SLOWDOWN * cost(passes) else passes


def cut_into_trees(step: int, longest: int, shared: int, limit: int) -> tuple[int, int]:
    """Cut the rows of a step into trees up to a limit; return the tokens of one, and of all."""
    begins = shared if shared >= MIN_SAVED_TOKENS else 0
    rows = min(step, max(1, (limit - begins) // max(1, longest - begins)))
    saved = shared * (rows - 1)
    tree = rows * longest - (saved if saved >= MIN_SAVED_TOKENS else 0)
    return tree, -(-step * tree // rows)
