"""Many prompts, answered by several processes: each takes whole batches, so the answers are those of one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from framework.api import Answer
from framework.api.training import AnswerHelper, AnswerTask
from framework_plugins.hf.generate.generate import by_length

BATCHES = 2
"""Batches that each process has at least: it loads the model first."""


def answer_together(
    task: AnswerTask, answer: Callable[[AnswerTask], list[Answer]], helpers: Sequence[AnswerHelper]
) -> list[Answer]:
    """Answer a part of the prompts here, and let helpers answer the others; the answers come in their order.

    Args:
        task: all of them.
        answer: answers here.
        helpers: answer elsewhere.
    """
    order, size = by_length(task.starts), task.batch_size
    batches = [order[place : place + size] for place in range(0, len(order), size)]
    count = min(1 + len(helpers), len(batches) // BATCHES)
    if count <= 1:
        return answer(task)
    # In turn, since the longest prompts are in the last batches.
    shares = [[number for batch in batches[rank::count] for number in batch] for rank in range(count)]
    own, *others = [replace(task, starts=[task.starts[number] for number in share]) for share in shares]
    waiting = [helper(other) for helper, other in zip(helpers, others, strict=False)]
    answers = [answer(own), *(wait() for wait in waiting)]
    found = dict[int, Answer]()
    for share, some in zip(shares, answers, strict=True):
        found |= zip(share, some, strict=True)
    return [found[number] for number in range(len(order))]
