"""Everything that the model reads is searched: earlier answers, system prompts, thoughts, calls, tools."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.api.records import Example, Message, ToolCall
from framework.api.records.rows import call_text
from framework_plugins.audit.batch_texts import AROUND, EARLIER, BatchTexts, is_word, json_kind
from framework_plugins.audit.config import Check, StandardConfig
from framework_plugins.audit.standard import Standard
from tests.plugins.audit.made import audit_data, look

KEY = "AKIA" + "Z7QK4JW2MB6XT9RD"
TOOL = {"name": "ask", "description": "Asks the shop", "parameters": {"type": "object"}}


def dialogue(
    number: int,
    earlier: str = "It is the red one, over there",
    *,
    learned: bool = True,
    calls: tuple[ToolCall, ...] = (),
) -> Example:
    """Return three turns with the same second answer; the first one is given."""
    said = Message("assistant", earlier, tool_calls=calls, learned=learned)
    turns = (Message("user", f"Which of the {number} trams goes to the harbour?"), said)
    more = (
        Message("user", f"And which one back at {number}?"),
        Message("assistant", f"The blue one leaves at {number}"),
    )
    first = (Message("user", f"Good morning, {number} times"), Message("assistant", f"And to you, {number} times"))
    return Example((*first, *turns, *more), "chatml", f"rows.jsonl:{number + 1}")


def in_system(text: str, row: Example) -> Example:
    return dataclasses.replace(row, messages=(Message("system", f"Be brief. {text}"), *row.messages))


def in_thoughts(text: str, row: Example) -> Example:
    last = dataclasses.replace(row.messages[-1], reasoning_content=f"They want the tram back. {text}")
    return dataclasses.replace(row, messages=(*row.messages[:-1], last))


def in_a_call(text: str, row: Example) -> Example:
    last = dataclasses.replace(row.messages[-1], tool_calls=(ToolCall("ask", {"lines": [f'of "trams"\n{text}']}),))
    return dataclasses.replace(row, messages=(*row.messages[:-1], last))


def in_a_tool(text: str, row: Example) -> Example:
    return dataclasses.replace(row, tools=({**TOOL, "description": f"Asks the shop:\n{text}"},))


def in_an_earlier_answer(text: str, row: Example) -> Example:
    return dialogue(int(row.where.split(":")[1]) - 1, text)


def in_an_unlearned_answer(text: str, row: Example) -> Example:
    return dialogue(int(row.where.split(":")[1]) - 1, text, learned=False)


TEXTS = {
    Check.secrets: f"{KEY} opens the depot",
    Check.emails: "jane.doe@acme-tools.co.uk knows more",
    Check.broken_encoding: "the cafÃ© at the quay",
    Check.control_characters: "the bell\x07 rang",
}


@pytest.mark.parametrize("check", TEXTS)
@pytest.mark.parametrize(
    "put", [in_system, in_thoughts, in_a_call, in_a_tool, in_an_earlier_answer, in_an_unlearned_answer]
)
def test_what_must_stand_nowhere_is_found_everywhere(
    check: Check, put: Callable[[str, Example], Example], tmp_path: Path
) -> None:
    rows = [dialogue(number) for number in range(30)]
    rows[11] = put(TEXTS[check], rows[11])
    data = audit_data(tmp_path, rows)
    found = look(data)[check]
    assert found.numbers.tolist() == [11]
    if put not in {in_an_earlier_answer, in_an_unlearned_answer}:
        assert found.finding(data, fatal=False).examples[0].endswith(AROUND)


@pytest.mark.parametrize(
    ("check", "answer", "fine"),
    [
        (Check.refusals, "I'm sorry, but I can't assist with that request.", "It is the red one"),
        (Check.empty_answers, " \u200b", "It is the red one"),
        (Check.one_word_answers, "Red.", "It is the red one"),
    ],
)
def test_an_answer_before_the_last_is_looked_at_like_the_last(
    check: Check, answer: str, fine: str, tmp_path: Path
) -> None:
    rows = [dialogue(number, answer if number == 7 else fine) for number in range(30)]
    data = audit_data(tmp_path, rows)
    found = look(data)[check]
    assert found.numbers.tolist() == [7]
    assert found.finding(data, fatal=False).examples[0].endswith(EARLIER)
    unlearned = [dialogue(number, answer, learned=False) for number in range(30)]
    assert check not in look(audit_data(tmp_path / "unlearned", unlearned))


def test_a_call_without_words_is_no_empty_answer(tmp_path: Path) -> None:
    rows = [dialogue(number, "", calls=(ToolCall("ask", {}),)) for number in range(30)]
    assert {Check.empty_answers, Check.one_word_answers} & set(look(audit_data(tmp_path, rows))) == set()


def test_json_is_broken_in_any_of_the_answers(tmp_path: Path) -> None:
    def row(number: int, answers: list[str]) -> Example:
        turns = [
            Message(role, text) for text in answers for role, text in (("user", f"{number}?"), ("assistant", text))
        ]
        return Example(tuple(turns), "chatml", f"rows.jsonl:{number + 1}")

    whole = [row(number, [f'{{"trams": {number}}}', "And that is all"]) for number in range(20)]
    assert Check.broken_json not in look(audit_data(tmp_path / "half", [*whole, row(20, ['{"trams": 5', "Yes, all"])]))
    whole = [row(number, [f'{{"trams": {number}}}', f'{{"buses": {number}}}']) for number in range(20)]
    found = look(audit_data(tmp_path / "most", [*whole, row(20, ['{"trams": 5', '{"buses": 1}'])]))[Check.broken_json]
    assert found.numbers.tolist() == [20]
    assert "98% of the answers are" in found.text


def test_no_secret_out_of_a_system_prompt_is_shown(tmp_path: Path) -> None:
    rows = [in_system(f"{KEY} jane.doe@acme-tools.co.uk", dialogue(number)) for number in range(30)]
    findings = list(Standard(StandardConfig()).audit(audit_data(tmp_path, rows)))
    assert {"secrets", "emails"} <= {finding.name for finding in findings}
    shown = str([finding.examples for finding in findings])
    assert KEY not in shown
    assert "jane.doe" not in shown


def test_what_many_rows_share_is_searched_once() -> None:
    around = BatchTexts.around(["Be brief.", "", "Be kind.", "Be brief."])
    assert around.texts == ["Be brief.", "Be kind."]
    assert around.select(lambda text: "brief" in text).tolist() == [0, 3]
    assert BatchTexts.around(["", ""]).select(bool).tolist() == []


def test_a_call_is_neither_json_nor_a_word() -> None:
    call = call_text([ToolCall("now", {})])
    assert json_kind(call) == json_kind("weather") == 0
    assert not is_word(call)
    assert is_word("now()")


@pytest.mark.parametrize("text", ['{"a\\\\', "{\\u0007", "\\\\", 'ask {"a": "\\n', "\\u00"])
def test_escapes_cost_no_more_than_their_length(text: str) -> None:
    start = time.process_time()
    BatchTexts.around([text * (600_000 // len(text))])
    assert time.process_time() - start < 3
