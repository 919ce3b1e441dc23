"""Many prompts, answered by several processes: each takes whole batches, so the answers are those of one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from framework.api import Answer
from framework.api.training import AnswerTask
from framework_plugins.hf.generate.generate import by_length

BATCHES = 2
"""Batches that each process has at least: it loads the model first."""


def answer_together(
    task: AnswerTask,
    answer: Callable[[AnswerTask], list[Answer]],
    helpers: Sequence[Callable[[AnswerTask], Callable[[], list[Answer]]]],
) -> list[Answer]:
    """Answer a part of the prompts here, and let helpers answer the others; the answers come in their order.

    Args:
        task: all of them.
        answer: answers here.
        helpers: answer elsewhere.
    """
    order, size = by_length(task.starts), task.batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    count = min(1 + len(helpers), len(batches) // BATCHES)
    if count <= 1:
        return answer(task)
    # In turn, since the longest prompts are in the last batches.
    shares = [[index for batch in batches[rank::count] for index in batch] for rank in range(count)]
    local_task, *remote_tasks = [replace(task, starts=[task.starts[index] for index in share]) for share in shares]
    waiting = [helper(remote_task) for helper, remote_task in zip(helpers, remote_tasks, strict=False)]
    answers = [answer(local_task), *(wait() for wait in waiting)]
    results = dict[int, Answer]()
    for share, part in zip(shares, answers, strict=True):
        results |= zip(share, part, strict=True)
    return [results[index] for index in range(len(order))]
