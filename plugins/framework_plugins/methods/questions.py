"""The questions of methods that draw answers themselves: a row has to ask something; its answer is a reference."""

from __future__ import annotations

from dataclasses import replace

from framework import FrameworkError
from framework.api import Example


def check_question(example: Example, method: str) -> None:
    """Refuse a row that asks nothing.

    Raises:
        FrameworkError: it is plain text, or no turn of the user is before its answer.
    """
    if example.text is not None:
        raise FrameworkError(
            f"is plain text, and method={method} draws answers to questions: name the field that asks, "
            "format.columns={instruction: FIELD}, or learn the texts with method=pretrain"
        )
    ending = example.messages[-1:]
    if ending and ending[0].role == "assistant" and not ending[0].learned:
        raise FrameworkError(
            f"ends with an assistant's turn that is not an answer to learn, and method={method} answers the question "
            "before it: leave this turn out"
        )
    turns = question_of(example).messages
    if not turns or turns[-1].role not in {"user", "tool"}:
        raise FrameworkError(
            f"asks nothing, and method={method} draws answers to questions: the last turn before the answer has to be "
            "the user's"
        )


def question_of(example: Example) -> Example:
    """Return a conversation without its answer."""
    return example if example.is_prompt else replace(example, messages=example.messages[:-1], rejected=())
