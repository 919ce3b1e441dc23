"""Preference pairs: one question, the chosen answer to learn, the rejected one beside it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.records import Message
from framework.api.schema import FormatConfig
from framework_plugins.formats.formats import Preference

CONFIG = FormatConfig()
TEXT = st.text(min_size=1).filter(lambda text: not text.startswith("\n\nHuman:"))
"""Text that holds no dialogue of its own."""

Fields = dict[str, Any]


def user(content: str) -> Fields:
    return {"role": "user", "content": content}


def assistant(content: str) -> Fields:
    return {"role": "assistant", "content": content}


@given(asked=TEXT, chosen=TEXT, rejected=TEXT, system=st.none() | TEXT)
def test_a_pair_is_the_same_in_every_spelling(asked: str, chosen: str, rejected: str, system: str | None) -> None:
    before = [] if system is None else [{"role": "system", "content": system}]
    beside: Fields = {} if system is None else {"system": system}
    one, other = assistant(chosen), assistant(rejected)
    rows: list[Fields] = [
        {**beside, "prompt": asked, "chosen": chosen, "rejected": rejected},
        {**beside, "prompt": asked, "chosen": [one], "rejected": [other]},
        {**beside, "prompt": [user(asked)], "chosen": one, "rejected": rejected},
        {"prompt": [*before, user(asked)], "chosen": [one], "rejected": [other]},
        {"prompt": [*before, user(asked)], "chosen": [*before, user(asked), one], "rejected": [other]},
        {"chosen": [*before, user(asked), one], "rejected": [*before, user(asked), other]},
        {**beside, "chosen": [user(asked), one], "rejected": [user(asked), other], "messages": [user(asked), one]},
        {**beside, "instruction": asked, "input": "", "chosen": chosen, "rejected": rejected},
        {
            **beside,
            "conversations": [{"from": "human", "value": asked}],
            "chosen": {"from": "gpt", "value": chosen},
            "rejected": {"from": "gpt", "value": rejected},
        },
    ]
    question = (*([Message("system", system)] if system is not None else []), Message("user", asked))
    for row in rows:
        example = Preference(CONFIG).example(row)
        assert example.messages == (*question, Message("assistant", chosen))
        assert example.rejected == (Message("assistant", rejected),)
        assert example.format == "preference"


def test_a_dialogue_inside_the_text_is_taken_apart() -> None:
    chosen = "\n\nHuman: Hi\nthere\n\nAssistant: Hello.\n\nHuman: Say it\n\nAssistant: It."
    example = Preference(CONFIG).example({"chosen": chosen, "rejected": chosen.replace("It.", "No.")})
    assert example.messages == (
        Message("user", "Hi\nthere"),
        Message("assistant", "Hello.", learned=False),
        Message("user", "Say it"),
        Message("assistant", "It."),
    )
    assert example.rejected == (Message("assistant", "No."),)
    opened = {"prompt": "\n\nHuman: Say it\n\nAssistant:", "chosen": "It.", "rejected": "No."}
    assert Preference(CONFIG).example(opened).messages == (Message("user", "Say it"), Message("assistant", "It."))


def test_answers_may_go_on_over_several_turns() -> None:
    row = {
        "prompt": "a",
        "chosen": [assistant("b"), user("c"), assistant("d")],
        "rejected": [assistant("b"), user("e"), assistant("f")],
    }
    with pytest.raises(FrameworkError, match="'chosen' and 'rejected' differ before the assistant's turn"):
        Preference(CONFIG).example(row)
    row["rejected"] = [assistant("x"), user("e"), assistant("f")]
    example = Preference(CONFIG).example(row)
    assert [message.content for message in example.messages] == ["a", "b", "c", "d"]
    assert [message.content for message in example.rejected] == ["x", "e", "f"]


def test_equal_answers_keep_one_each() -> None:
    example = Preference(CONFIG).example({"prompt": "a", "chosen": "b", "rejected": "b"})
    assert example.messages[-1:] == example.rejected == (Message("assistant", "b"),)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": "a", "chosen": "b"}, "format preference needs the field 'rejected'; the row has prompt, chosen"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "format preference needs text in 'rejected', found null"),
        ({"prompt": "a", "chosen": [], "rejected": "b"}, "needs text in 'chosen', found an empty list"),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "format preference needs text in 'prompt', found a number"),
        (
            {"system": "s", "quest": "a", "chosen": "b", "rejected": "c"},
            "format preference needs the field 'prompt'; the row has system, quest, chosen, rejected",
        ),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]},
            "needs two answers to one question: 'chosen' and 'rejected' differ before the assistant's turn",
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": [assistant("c"), user("d")]},
            "needs two answers to one question",
        ),
        (
            {"prompt": [user("a"), assistant("b"), user("c")], "chosen": [user("c"), assistant("d")], "rejected": "e"},
            "needs the turns of the question at the beginning of 'chosen', or the answer alone",
        ),
        (
            {"prompt": "a", "chosen": [{"role": "poet", "content": "b"}], "rejected": "c"},
            "format preference (turn 1 of 'chosen') has an unknown role 'poet'",
        ),
    ],
)
def test_what_is_no_pair_is_reported(fields: Fields, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        Preference(CONFIG).example(fields)
    assert text in str(caught.value)
