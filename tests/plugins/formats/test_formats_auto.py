"""`format=auto`: rows as they are published have one format, and the error for none or several says why."""

from typing import Any

import pytest

from framework import FrameworkError
from framework.api.schema import FormatConfig
from framework_plugins.formats.formats import Auto

CONFIG = FormatConfig()
ASKED, ANSWERED = {"role": "user", "content": "say"}, {"role": "assistant", "content": "it"}
WRONG = {"role": "assistant", "content": "no"}
TALK = [{"from": "human", "value": "say"}, {"from": "gpt", "value": "it"}]

Fields = dict[str, Any]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("alpaca", {"instruction": "say", "input": "", "output": "it", "text": "Below is an instruction…"}),
        ("alpaca", {"instruction": "say", "output": "it", "messages": None, "chosen": None, "prompt": None}),
        ("chatml", {"prompt": "say", "prompt_id": "1", "messages": [ASKED, ANSWERED]}),
        ("chatml", {"conversation_id": "1", "model": "x", "conversation": [ASKED, ANSWERED], "language": "English"}),
        ("chatml", {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}]}),
        ("sharegpt", {"id": "1", "conversations": TALK, "source": "x", "category": None, "views": 3}),
        ("sharegpt", {"conversations": TALK, "text": "human: say"}),
        ("preference", {"prompt": "say", "chosen": "it", "rejected": "no"}),
        (
            "preference",
            {
                "prompt": "say",
                "prompt_id": "1",
                "chosen": [ASKED, ANSWERED],
                "rejected": [ASKED, WRONG],
                "messages": [ASKED, ANSWERED],
                "score_chosen": 8.0,
            },
        ),
        ("preference", {"conversations": TALK[:1], "chosen": TALK[1], "rejected": {"from": "gpt", "value": "no"}}),
        ("preference", {"instruction": "say", "input": "", "chosen": "it", "rejected": "no"}),
        ("prompt_completion", {"prompt": "say", "completion": "it", "meta": {}}),
        ("prompt_completion", {"prompt": "say", "completion": "it", "label": True}),
        ("text", {"text": "say it", "url": "x", "timestamp": "2026"}),
        ("text", {"text": ""}),
        ("text", {"text": "say it", "label": None, "answer": None}),
    ],
)
def test_rows_as_they_are_published_have_one_format(kind: str, fields: Fields) -> None:
    auto = Auto(CONFIG)
    assert auto.fitting(fields) == [kind]
    assert auto.example(fields).format == kind


OPTIONS = "set format=alpaca|chatml|preference|prompt_completion|sharegpt|text, or say which field is which with "


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"question": "?", "answer": "!"}, f"no format fits a row with the fields question, answer: {OPTIONS}"),
        ({}, "no format fits a row with the fields (none): set format=alpaca|chatml|"),
        (
            {"messages": []},
            "no format fits a row with the fields messages (format chatml needs a list of turns in 'messages', found "
            "an empty list): set format=",
        ),
        ({"conversations": []}, "(format chatml needs a list of turns in 'conversations', found an empty list): set"),
        (
            {"messages": [{"role": "user"}]},
            "(format chatml (turn 1 of 'messages') needs the field 'content'; the turn has role): s",
        ),
        (
            {"conversations": [{"from": "gpt"}]},
            "(format sharegpt (turn 1 of 'conversations') needs the field 'value'; the turn has from): ",
        ),
        (
            {"instruction": "a", "response": "b"},
            "fields instruction, response (format alpaca needs the field 'output'): ",
        ),
        ({"instruction": "a", "output": None}, "(format alpaca needs text in 'output', found null): set format="),
        ({"prompt": "a"}, "(format prompt_completion needs the field 'completion'): set format="),
        ({"text": 3}, "(format text needs text in 'text', found a number): set format="),
        ({"text": "good", "label": 1}, f"no format fits a row with the fields text, label: {OPTIONS}"),
        (
            {"instruction": "a", "output": "b", "prompt": "c", "completion": "d"},
            "several formats fit (alpaca, prompt_completion) a row with the fields instruction, output, prompt, "
            "completion: set format=alpaca|prompt_completion",
        ),
        ({"messages": [ASKED, ANSWERED], "conversations": TALK}, "several formats fit (chatml, sharegpt) a row"),
        ({"instruction": "a", "output": "b", "messages": [ASKED, ANSWERED]}, "several formats fit (alpaca, chatml)"),
    ],
)
def test_a_row_that_fits_none_or_several_formats_is_refused_with_the_reason(fields: Fields, text: str) -> None:
    auto = Auto(CONFIG)
    assert not auto.matches(fields)
    with pytest.raises(FrameworkError) as caught:
        auto.example(fields)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_turn_that_is_wrong_further_on_is_reported_by_its_format() -> None:
    with pytest.raises(
        FrameworkError, match=r"^format chatml \(turn 3 of 'messages'\) needs the field 'role'; the turn"
    ):
        Auto(CONFIG).example({"messages": [ASKED, ANSWERED, TALK[0]]})
