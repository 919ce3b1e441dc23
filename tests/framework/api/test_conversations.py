"""framework/api/conversations.py: one conversation for each answer, and thoughts in other places."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from framework.api.conversations import conversation
from framework.api.records import Example, Message
from framework.api.schema import Thoughts

ASK, MORE = Message("user", "Two and two?"), Message("user", "Sure?")
FIRST, SECOND = Message("assistant", "Four."), Message("assistant", "Yes.")


def test_each_answer_gets_the_turns_before_it_and_is_learned_alone() -> None:
    rows = list(Example((ASK, FIRST, MORE, SECOND), "chatml", "a.jsonl:3").for_each_answer())
    assert [row.messages for row in rows] == [(ASK, FIRST), (ASK, replace(FIRST, learned=False), MORE, SECOND)]
    assert [row.where for row in rows] == ["a.jsonl:3, answer 1", "a.jsonl:3, answer 2"]
    assert {row.cluster for row in rows} == {"a.jsonl:3"}
    assert {conversation(row.where) for row in rows} == {"a.jsonl:3"}


def test_answers_of_weight_0_make_no_row_and_a_cluster_of_the_data_stays() -> None:
    example = Example((ASK, replace(FIRST, learned=False), MORE, SECOND, ASK, FIRST), "chatml", "a:1", cluster="Ada")
    rows = list(example.for_each_answer())
    assert [len(row.messages) for row in rows] == [4, 6]
    assert {row.cluster for row in rows} == {"Ada"}


def test_a_rejected_answer_stays_with_the_last() -> None:
    rows = list(Example((ASK, FIRST, MORE, SECOND), "preference", "a:1", rejected=(FIRST,)).for_each_answer())
    assert [row.rejected for row in rows] == [(), (FIRST,)]


@pytest.mark.parametrize(
    "example", [Example((ASK, FIRST), "chatml", "a:1"), Example((), "text", "a:1", text="Once.")], ids=["one", "text"]
)
def test_one_answer_and_plain_text_stay_as_they_are(example: Example) -> None:
    assert list(example.for_each_answer()) == [example]


def test_the_name_of_a_row_that_is_a_whole_conversation_is_its_own() -> None:
    assert conversation("a.jsonl:3") == "a.jsonl:3"
    assert conversation("notes, answer key.jsonl:3") == "notes, answer key.jsonl:3"


def answered(content: str, thought: str = "") -> Example:
    return Example((ASK, Message("assistant", content, reasoning_content=thought)), "chatml", "a:1")


@pytest.mark.parametrize(
    "example", [answered("Four.", "2 + 2"), answered("<think>\n2 + 2\n</think>\n\nFour.")], ids=["field", "inline"]
)
def test_thoughts_move_wherever_they_were(example: Example) -> None:
    assert example.with_thoughts(Thoughts.keep) == example
    assert example.with_thoughts(Thoughts.field) == answered("Four.", "2 + 2")
    assert example.with_thoughts(Thoughts.inline) == answered("<think>\n2 + 2\n</think>\n\nFour.")
    assert example.with_thoughts(Thoughts.drop) == answered("Four.")


@example(content="", thought="\r", where=Thoughts.inline)
@given(content=st.text(), thought=st.text(), where=st.sampled_from(Thoughts))
def test_a_move_twice_is_a_move_once(content: str, thought: str, where: Thoughts) -> None:
    once = answered(content, thought).with_thoughts(where)
    if where is not Thoughts.drop or "<think>" not in once.messages[-1].content:  # a second thought is text
        assert once.with_thoughts(where) == once


def test_what_others_say_stays() -> None:
    question = Example((Message("user", "<think>a</think>"), FIRST), "chatml", "a:1")
    assert question.with_thoughts(Thoughts.drop) == question
