"""Prompts are shared out in whole batches, and the answers come back in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from framework.api.protocols import AnswerTask
from framework.api.records import Answer
from framework_plugins.hf.generate.generate import by_length
from framework_plugins.hf.generate.together import answer_together

ROWS = [[number] * (1 + number * 7 % 5) for number in range(23)]
TASK = AnswerTask(ROWS, (), 4, 3, base=False, checkpoint=None)


def batches(task: AnswerTask) -> list[list[int]]:
    """Return the rows of each batch that a process makes, by their first token."""
    ordered = [task.starts[number][0] for number in by_length(task.starts)]
    return [ordered[place : place + task.batch_size] for place in range(0, len(ordered), task.batch_size)]


@pytest.mark.parametrize(("helpers", "processes"), [(0, 1), (1, 2), (2, 3), (7, 4)])
def test_the_batches_and_answers_are_those_of_one_process(helpers: int, processes: int) -> None:
    made: list[list[list[int]]] = []

    def answer(task: AnswerTask) -> list[Answer]:
        made.append(batches(task))
        return [Answer(str(row[0]), len(row), stopped=True) for row in task.starts]

    def helper(task: AnswerTask) -> Callable[[], list[Answer]]:
        return lambda: answer(task)

    answers = answer_together(TASK, answer, [helper] * helpers)
    assert [each.text for each in answers] == [str(row[0]) for row in ROWS]
    assert len(made) == processes
    assert sorted(batch for some in made for batch in some) == sorted(batches(TASK))


def test_few_prompts_are_answered_here() -> None:
    def helper(_: AnswerTask) -> Callable[[], list[Answer]]:
        raise AssertionError

    few = replace(TASK, starts=ROWS[:9])
    assert len(answer_together(few, lambda task: [Answer("", 0, stopped=True)] * len(task.starts), [helper])) == 9
