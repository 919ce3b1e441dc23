"""Cells of tables hold dialogues as JSON text; text that only looks like one stays text."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from framework import FrameworkError
from framework.api.records import Message
from framework.api.schema import FormatConfig
from framework_plugins.formats.formats import Alpaca, Auto, ChatML, Preference, PromptCompletion
from tests.support.data_files import rows_of, written
from tests.support.writings import Fields, conversations
from tests.support.writings import written as spellings

CONFIG = FormatConfig()
ASKED, ANSWERED = {"role": "user", "content": "say"}, {"role": "assistant", "content": "it"}
WRONG = {"role": "assistant", "content": "no"}
TALK = [{"from": "human", "value": "say"}, {"from": "gpt", "value": "it"}]
LEARNED = (Message("user", "say"), Message("assistant", "it"))


def packed(fields: Fields) -> Fields:
    """Write every list of a row as JSON text, as a table has to hold it."""
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in fields.items()}


@given(conversations())
def test_a_dialogue_in_json_text_is_the_dialogue(messages: list[Message]) -> None:
    auto = Auto(CONFIG)
    for kind, fields in spellings(messages):
        text = packed(fields)
        assert auto.recognise(text)[0] == kind
        assert auto.example(text) == auto.example(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [ASKED, ANSWERED]},
        {"conversations": TALK},
        {"messages": "", "conversation": [ASKED, ANSWERED]},
        {"prompt": [ASKED], "completion": [ANSWERED]},
        {"prompt": "say", "chosen": [ANSWERED], "rejected": [WRONG]},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, WRONG]},
        {"conversations": TALK[:1], "chosen": [TALK[1]], "rejected": [WRONG]},
    ],
)
def test_a_table_with_dialogues_in_its_cells_is_read_as_its_format(tmp_path: Path, fields: dict[str, Any]) -> None:
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([list(fields), list(packed(fields).values())])
    rows = rows_of(tmp_path / "t.csv")
    rows += rows_of(written(tmp_path, "t.parquet", [packed(fields)]))
    for row in rows:
        assert Auto(CONFIG).example(row.fields).messages == LEARNED


def test_white_space_before_the_list_is_no_matter() -> None:
    text = json.dumps([ASKED, ANSWERED], indent=2)
    assert ChatML(CONFIG).example({"messages": f"\n {text}\n"}).messages == LEARNED


def test_history_is_read_from_json_text_and_an_empty_cell_is_none() -> None:
    row = {"instruction": "say", "output": "it", "history": '[["a", "b"]]'}
    assert Alpaca(CONFIG).example(row).messages == (Message("user", "a"), Message("assistant", "b"), *LEARNED)
    assert Alpaca(CONFIG).example({**row, "history": ""}).messages == LEARNED
    with pytest.raises(FrameworkError, match="needs JSON in 'history': Expecting value at column 2"):
        Alpaca(CONFIG).example({**row, "history": "[a, b]"})


@pytest.mark.parametrize(
    "answer",
    [
        '[{"name": "Ada", "age": 36}]',
        '[{"role": "CEO", "content": "x"}]',
        '[{"role": "user"}]',
        '[{"from": "Berlin", "value": 3}]',
        '[{"role": ["user"], "content": "x"}]',
        '[{"role": "user", "content": "x"}, 3]',
        '[{"role": "user", "content": "x"}',
        "[{" * 100_000,
        "[1, 2]",
        "{}",
    ],
)
def test_an_answer_that_is_a_list_but_no_turns_stays_text(answer: str) -> None:
    row = {"prompt": answer, "completion": answer, "chosen": answer, "rejected": "no"}
    expected = (Message("user", answer), Message("assistant", answer))
    for formatter in (PromptCompletion(CONFIG), Preference(CONFIG)):
        assert formatter.example(row).messages == expected


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"messages": '[{"role": "user"'}, "needs a list of turns in 'messages', found text that begins like a list"),
        (
            {"messages": "[{'role': 'user', 'content': 'a'}]"},
            "needs a list of turns in 'messages', found a list as Python prints it; write it with json.dumps",
        ),
        ({"messages": "hello"}, "needs a list of turns in 'messages', found text)"),
        ({"messages": "[3]"}, "needs a list of turns in 'messages', found text)"),
        (
            {"prompt": "say", "chosen": "[{'content': 'a', 'role': 'assistant'}]", "rejected": "no"},
            "needs text or a list of turns in 'chosen', found a list as Python prints it; write it with json.dumps",
        ),
        (
            {"prompt": "say", "completion": '[{"role": "assistant", "content": 3}]'},
            "(turn 1 of 'completion') needs text in 'content', found a number",
        ),
    ],
)
def test_text_that_was_meant_as_a_dialogue_is_reported(fields: Fields, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        Auto(CONFIG).example(fields)
    assert text in str(caught.value)
