"""methods/pairs.py, kto.py, sft.py: a row that a method cannot use is refused with the method that can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from framework.api.records import Example, Message
from framework.util.errors import FrameworkError
from tests.support.training import chosen

ASKED = Message("user", "Capital of Peru?")
PLAIN = Example((ASKED, Message("assistant", "Lima.")), "alpaca", "rows.jsonl:1")

FIELDS = replace(PLAIN, columns={"id": 5, "ask": ASKED.content, "good": "Lima.", "other": "Quito."})


def pair(rejected: str) -> Example:
    return Example(PLAIN.messages, "preference", "rows.jsonl:1", rejected=(Message("assistant", rejected),))


def labelled(label: float) -> Example:
    return Example(PLAIN.messages, "unpaired", "rows.jsonl:1", facts={"desirable": label})


@pytest.mark.parametrize(
    ("method", "row", "message"),
    [
        (
            "dpo",
            PLAIN,
            "method=dpo compares .* no rejected one: write rows with the fields prompt, chosen and",
        ),
        (
            "dpo",
            FIELDS,
            r"one: type 'format\.columns=\{prompt:ask,chosen:good,rejected:other\}', or set method=sft",
        ),
        ("orpo", labelled(1), "method=orpo compares .* one answer with a label: set method=kto"),
        (
            "simpo",
            pair("Lima."),
            "same text as both, which teaches nothing: remove it, or set data.on_bad_row=skip",
        ),
        ("dpo", pair(" Lima.\n"), "answers that differ in white space only, which teaches nothing: remove it"),
        ("kto", PLAIN, "method=kto learns from .* no label: add one, or set method=sft, which learns every answer"),
        ("kto", pair("Quito."), "a chosen and a rejected one: set method=dpo"),
        ("kto", labelled(0.5), "the label 0.5: write 1 or 0"),
        ("sft", labelled(0), "method=sft would learn it: method=kto learns from such rows"),
        ("pretrain", PLAIN, r"a conversation \(format alpaca\), and method=pretrain learns plain text: method=sft"),
    ],
)
def test_a_row_that_a_method_cannot_use_is_refused_with_the_one_that_can(
    method: str, row: Example, message: str
) -> None:
    with pytest.raises(FrameworkError, match=message):
        chosen("method", method).create().check(row)
