"""hf/tokens/message_check.py: every message is in the rendered text."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

import pytest

from framework import FrameworkError
from framework.api.records import Example, Message, ToolCall
from framework_plugins.hf.tokens.message_check import Remedied, all_texts, answer_end, lost_text

SYSTEM, ASK, TELL = Message("system", "Be brief."), Message("user", "How many?"), Message("assistant", "Two.")
RESULT = Message("tool", 'line one\n"two"')


def test_a_problem_keeps_its_remedy_on_the_way_through_an_error() -> None:
    problem = Remedied("it fails: twice", "take another", "wait, or ")
    found = Remedied.of(FrameworkError(problem))
    assert isinstance(found, Remedied)
    assert (found, found.cause, found.remedy) == (
        "it fails: twice: wait, or take another",
        "it fails: twice",
        "take another",
    )
    assert Remedied.of(FrameworkError("it fails: take another")) == "it fails: take another"


@pytest.mark.parametrize(
    ("messages", "text", "problem"),
    [
        ((SYSTEM, ASK, TELL), "Be brief. How many? Two.", ""),
        ((SYSTEM, ASK, TELL), "How many? Be brief. Two.", ""),  # moved
        ((SYSTEM, ASK, TELL), "How many? Two.", "the system prompt"),
        ((ASK, ASK, TELL), "How many?\nHow many? Two.", ""),  # merged
        ((ASK, ASK, TELL), "How many? Two.", "a turn of the user"),
        ((ASK, TELL), "Two. How many?", "a turn of the assistant"),
        ((ASK, RESULT, TELL), 'How many? line one\n"two" Two.', ""),
        ((ASK, RESULT, TELL), r"How many? line one\n\"two\" Two.", ""),  # as JSON
        ((ASK, RESULT, TELL), "How many? Two.", "a turn of the tool"),
        ((Message("user", " \n "), TELL), "Two.", ""),
        ((Message("user", r"a\"b\""), TELL), "ab Two.", "a turn of the user"),
        ((SYSTEM, Message("user", "Be brief. How many?"), TELL), "Be brief. How many? Two.", "the system prompt"),
        ((SYSTEM, Message("user", "Be brief. How many?"), TELL), "Be brief. Be brief. How many? Two.", ""),
        ((SYSTEM, Message("user", "Be brief. How many?"), TELL), "Be brief. How many? Be brief. Two.", ""),
        ((Message("system", "How many? Say it."), ASK, TELL), "How many? Say it. Two.", "a turn of the user"),
        ((Message("system", "How many? Say it."), ASK, TELL), "How many? Say it. How many? Two.", ""),
        ((Message("system", 'say "a"'), ASK, Message("tool", 'say "a"'), TELL),
         r'say "a" How many? say \"a\" Two.', ""),  # once as it is, once as JSON
        ((SYSTEM, ASK, Message("assistant", "<think>Be brief.</think>Two."), ASK, TELL),
         "Be brief. How many? Two. How many? Two.", ""),  # the thought is gone, as it may
        ((ASK, Message("assistant", "<think>Hm</think>\nTwo."), ASK, TELL), "How many? Two. How many? Two.", ""),
    ],
)  # fmt: skip
def test_a_message_that_is_dropped_is_named(messages: tuple[Message, ...], text: str, problem: str) -> None:
    said = lost_text(Example(messages, "chatml"), text)
    assert problem in said
    assert bool(said) is bool(problem)


def test_tools_are_looked_for_by_name() -> None:
    tools = ({"type": "function", "function": {"name": "count"}}, {"name": "weigh"})
    example = Example((ASK, TELL), "chatml", tools=tools)
    assert lost_text(example, "count weigh How many? Two.") == ""
    assert "leaves out the tools" in lost_text(example, "count How many? Two.")


def test_a_tool_that_only_the_conversation_names_is_left_out() -> None:
    tools = ({"type": "function", "function": {"name": "count"}},)
    asked = (Message("user", "Please count."), Message("assistant", "", (ToolCall("count", {}),)), RESULT, TELL)
    said = 'Please count. {"name": "count"} line one\n"two" Two.'
    example = Example(asked, "chatml", tools=tools)
    assert "leaves out the tools" in lost_text(example, said)
    assert lost_text(example, f"tools: count {said}") == ""
    assert "assistant's tool call" in lost_text(Example(asked, "chatml"), said.replace('"count"', ""))


def end(message: Message, text: str) -> tuple[str, str]:
    """Return what is in the text up to the end of the turn, and the problem."""
    place, problem = answer_end(message, text, 0, len(text))
    return text[:place], problem


def test_a_turn_ends_where_the_last_of_its_parts_ends() -> None:
    call = ToolCall("count", {"what": "sheep", "where": {"farm": ['a "b"']}})
    text = r'Sure. {"name": "count", "arguments": {"what": "sheep", "where": {"farm": ["a \"b\""]}}}<end>'
    assert end(Message("assistant", "Sure.", (call,)), text) == (text.removesuffix('"]}}}<end>'), "")
    assert end(TELL, "Two. Two.") == ("Two.", "")
    assert end(Message("assistant", ""), "anything") == ("", "")


def test_thoughts_come_before_the_answer() -> None:
    thoughtful = Message("assistant", "Two.", reasoning_content="Two. Or not?")
    assert end(thoughtful, "<think>Two. Or not?</think>Two.<end>") == ("<think>Two. Or not?</think>Two.", "")
    assert "(reasoning_content)" in end(thoughtful, "Two.<end>")[1]
    inline = Message("assistant", "<think>Hm</think>Two.")
    assert end(inline, "<think>\nHm\n</think>\n\nTwo.<end>") == ("<think>\nHm\n</think>\n\nTwo.", "")
    assert "(before </think>)" in end(inline, "Two.<end>")[1]


def test_a_missing_argument_of_a_call_is_a_problem() -> None:
    call = Message("assistant", "", (ToolCall("count", {"what": "sheep"}),))
    assert "tool call" in end(call, '{"name": "count"}')[1]


def calls(*values: str, content: str = "") -> Message:
    return Message("assistant", content, tuple(ToolCall("count", {"what": value}) for value in values))


def written(*values: str) -> str:
    return "".join(json.dumps({"name": "count", "arguments": {"what": value}}, ensure_ascii=False) for value in values)


def test_each_call_has_a_place_of_its_own_before_or_after_the_answer() -> None:
    both = calls("sheep", "cows", content="I count sheep and cows, with count by what.")
    for text in (f"{both.content}{written('sheep', 'cows')}", f"{written('sheep', 'cows')}{both.content}"):
        assert end(both, text + "<end>") == (text.removesuffix('"}}'), "")
        assert lost_text(Example((ASK, both, RESULT, TELL), "chatml"), f'How many?{text}line one\n"two" Two.') == ""
    for values in (("sheep",), ("cows",), ("sheep", "sheep")):
        assert "tool call" in end(both, f"{both.content}{written(*values)}<end>")[1]
    assert "tool call" in end(calls("sheep", "sheep"), written("sheep"))[1]
    one = Example((ASK, calls("sheep", "cows"), RESULT, TELL), "chatml")
    assert "tool call" in lost_text(one, f'How many?{written("sheep")} count: line one\n"two" count: Two.')


@pytest.mark.parametrize("value", ['Zürich "1"', "a\nb", "<a & b>", " a ", "it's"])
@pytest.mark.parametrize(
    "form", [str, json.dumps, html.escape, repr, lambda text: json.dumps(json.dumps(text)), str.strip]
)
def test_an_argument_may_be_escaped(value: str, form: Callable[[str], str]) -> None:
    assert end(calls(value), f"<count><what>{form(value)}</what></count>")[1] == ""


def test_arguments_as_python_shows_them_are_refused_and_python_code_is_not() -> None:
    assert "as Python shows an object" in end(calls("sheep"), "{'name': 'count', 'arguments': {'what': 'sheep'}}")[1]
    assert end(calls("sheep"), "[count(what='sheep')]")[1] == ""


def test_all_that_a_conversation_brings_in_is_given_with_its_owner() -> None:
    call = ToolCall("count", {"what": ["sheep"]})
    example = Example(
        (ASK, Message("assistant", "Hm", (call,), reasoning_content="So.")), "chatml", tools=({"a": "b"},)
    )
    assert list(all_texts(example)) == [
        ("user", "How many?"),
        *(("assistant", text) for text in ("Hm", "So.", "count", "what", "sheep")),
        *(("tools", text) for text in ("a", "b")),
    ]


@pytest.mark.parametrize(
    ("text", "lost"), [("This is it. It is.", True), ("<tools>is</tools>This is it. It is.", False)]
)
def test_a_short_name_of_a_tool_is_a_word_of_its_own(text: str, *, lost: bool) -> None:
    turns = (Message("user", "This is it."), Message("assistant", "It is."))
    example = Example(turns, "chatml", tools=({"type": "function", "function": {"name": "is"}},))
    assert ("leaves out the tools" in lost_text(example, text)) is lost
