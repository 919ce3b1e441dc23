"""decide/rows.py: which option a label means, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from framework import FrameworkError
from framework.api.records import Example
from framework_plugins.decide.config import DecideFormatConfig
from framework_plugins.decide.rows import Decide, renamed

TEXT = {"text": "Great film"}
SCALE = ["1", "2", "3"]
LONG = ["Delivery is late", "delivery is late and the parcel was opened"]


def read(row: dict[str, Any], **settings: Any) -> Example:
    return Decide(DecideFormatConfig(**({"labels": ["negative", "positive"]} | settings))).example(row)


@pytest.mark.parametrize(
    ("row", "settings", "answer"),
    [
        ({"label": 1}, {}, "positive"),
        ({"label": "0"}, {}, "negative"),
        ({"label": 1.0}, {}, "positive"),
        ({"label": [1]}, {}, "positive"),
        ({"label": True}, {}, "positive"),
        ({"label": " Positive "}, {}, "positive"),
        ({"sentiment": "POS"}, {"names": {"POS": "positive"}}, "positive"),
        ({"label": 0, "label_text": "positive"}, {}, "positive"),
        ({"label": 1}, {"labels": SCALE}, "1"),
        ({"label": 3}, {"labels": SCALE}, "3"),
        ({"label": "delivery is late"}, {"labels": LONG}, LONG[0]),
        ({"label": LONG[1]}, {"labels": LONG}, LONG[1]),
        ({"label": False}, {"labels": []}, "no"),
        ({"label": ["b", "a"]}, {"labels": ["a", "b", "a, b"]}, "a, b"),
        ({"labels": ["a", "b"]}, {"labels": ["a", "b, a"]}, "b, a"),
        ({"labels": ["b"]}, {"labels": ["a", "b", "a, b"]}, "b"),
        ({"label": "B", "options": ["left", "right"]}, {}, "right"),
        ({"label": 1, "options": ["left", "right"]}, {}, "right"),
        ({"label": "A", "choices": {"text": ["left", "right"], "label": ["B", "A"]}}, {}, "right"),
    ],
)
def test_a_label_is_read_by_its_name_its_id_or_its_key(
    row: dict[str, Any], settings: dict[str, Any], answer: str
) -> None:
    example = read(TEXT | row, **settings)
    assert example.messages[-1].content == answer
    assert answer in example.options


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"label": "postive"}, {}, "unknown label 'postive'. Did you mean 'positive'?"),
        ({"label": 2}, {}, "found the label id 2 in 'label', and the 2 options have the ids 0 to 1"),
        ({"label": 0}, {"labels": SCALE}, "unknown label '0'"),
        ({"label": -1}, {}, "found no label in 'label', it is -1: data.on_bad_row=skip"),
        ({"label": ["negative", "positive"]}, {}, "unknown label 'negative, positive'"),
        ({"label": []}, {}, "found no label in 'label'"),
        ({}, {}, "needs a label, in one of the fields"),
        ({"label": 1, "text": "  "}, {}, "needs some text, and the row has none"),
        ({"label": 1}, {"labels": ["only"]}, "needs two options or more, and there is one, 'only'"),
        ({"label": 1}, {"labels": ["a", " a"]}, "the option 'a' twice"),
        ({"label": 1}, {"labels": ["a", " "]}, "an empty option"),
        ({"label": 1}, {"labels": []}, "set format.labels=[...]"),
        ({"label": 0, "options": "[left"}, {}, "options that are not JSON"),
    ],
)
def test_a_row_that_decides_nothing_is_refused(row: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        read(TEXT | row, **settings)
    assert message in str(refused.value)


def test_columns_are_renamed_and_left_out_and_nothing_is_guessed() -> None:
    row = {"Ticket": "It is late", "label": 1, "label_text": "x"}
    columns = {"text": "Ticket", "label_text": None}
    assert renamed(row, columns) == {"Ticket": "It is late", "label": 1, "text": "It is late"}
    joined = {"text": "{subject}: {body}"}
    assert renamed({"text": "joined before"}, joined) == {"text": "joined before"}
    with pytest.raises(FrameworkError, match="give the row a field 'text'"):
        renamed({"subject": "Late", "body": "It is late"}, joined)


def test_a_question_holds_the_options_and_the_text_as_they_are() -> None:
    text = "It says {options} and \\1"
    example = read({"text": text, "label": 0}, question="{text}|{options}")
    assert example.messages[0].content == f"{text}|- negative\n- positive"
    pair = read({"premise": "It rains", "hypothesis": "It is wet", "label": 0}, question="{text}")
    assert pair.messages[0].content == "Premise: It rains\nHypothesis: It is wet"
