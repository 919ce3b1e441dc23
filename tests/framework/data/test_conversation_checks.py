"""framework/data/conversation_checks.py: what every conversation must be."""

from __future__ import annotations

import datetime as dt

import pytest

from framework import FrameworkError
from framework.api.records import Example, Message, ToolCall
from framework.data.conversation_checks import check_turns

ASKED, ANSWERED = Message("user", "say"), Message("assistant", "it")


def check(example: Example) -> None:
    """Check a row as supervised training does."""
    check_turns(example)
    example.check_answered()


def refused(example: Example) -> str:
    with pytest.raises(FrameworkError) as caught:
        check(example)
    return str(caught.value)


@pytest.mark.parametrize(
    ("roles", "text"),
    [
        (["user", "assistant", "user"], "has to end with an assistant's turn, and this one ends with 'user'"),
        (["user", "assistant", "tool"], "has to end with an assistant's turn, and this one ends with 'tool'"),
        ([], "has to end with an assistant's turn, and this one has no turns"),
        (["assistant"], "has to begin with a user's turn, and this one begins with the assistant's; remove"),
        (["system", "assistant"], "has to begin with a user's turn, and this one begins with the assistant's"),
        (["tool", "assistant"], "has to begin with a user's turn, and this one begins with the tool's"),
        (["user", "poet", "assistant"], "a turn has the role 'poet'; valid: system, user, assistant, tool"),
    ],
)
def test_an_order_that_no_template_could_teach_from_is_refused(roles: list[str], text: str) -> None:
    assert text in refused(Example(tuple(Message(role, "hi") for role in roles), "fixed"))


@pytest.mark.parametrize(
    "roles",
    [
        ["user", "assistant"],
        ["system", "system", "user", "assistant"],
        ["user", "user", "assistant"],
        ["user", "assistant", "assistant"],
        ["user", "system", "assistant"],
        ["user", "assistant", "tool", "tool", "assistant"],
    ],
)
def test_the_order_in_between_is_left_to_the_template(roles: list[str]) -> None:
    check_turns(Example(tuple(Message(role, "hi") for role in roles), "fixed"))


HALF = "so \ud83d"


@pytest.mark.parametrize(
    ("example", "text"),
    [
        (
            Example((ASKED, Message("assistant", HALF)), "f"),
            "the assistant's turn is not valid text: surrogates not allowed at character 4",
        ),
        (Example((ASKED, ANSWERED), "f", rejected=(Message("assistant", HALF),)), "the assistant's turn is not valid"),
        (Example((ASKED, Message("assistant", "x", reasoning_content=HALF)), "f"), "the assistant's turn is not valid"),
        (Example((ASKED, Message("tool", "x", name=HALF), ANSWERED), "f"), "the tool's turn is not valid text"),
        (Example((), "f", text=HALF), "plain text is not valid text"),
        (Example((Message("user", 3), ANSWERED), "f"), "the user's turn is int, not text"),  # type: ignore[arg-type]
        (Example((ASKED, Message("assistant", "", (ToolCall("f", {"a": HALF}),))), "f"), "the call of 'f' cannot be"),
        (
            Example((ASKED, Message("assistant", "", (ToolCall("f", {"day": dt.date(2026, 1, 1)}),))), "f"),
            "the call of 'f' cannot be written as JSON: TypeError: Object of type date",
        ),
        (Example((ASKED, Message("assistant", "", (ToolCall("f", {"a": float("nan")}),))), "f"), "the call of 'f' can"),
        (Example((ASKED, ANSWERED), "f", tools=({"function": {"name": b"f"}},)), "a tool's schema cannot be written"),
    ],
)
def test_what_no_file_and_no_template_can_hold_is_refused(example: Example, text: str) -> None:
    assert text in refused(example)


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_empty_answer_is_no_error_here(answer: str) -> None:
    check_turns(Example((ASKED, Message("assistant", answer)), "fixed"))
