"""Leaks, contradictions, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.records import Example, Message, Severity
from framework_audit.config import Check
from tests.plugins.framework_audit.made import (
    Pair,
    audit_data,
    example,
    look,
)


@pytest.mark.parametrize("part", ["validation", "prompts"])
def test_what_leaked_into_training_is_found(part: str, clean: list[Pair], tmp_path: Path) -> None:
    train, held = clean[100:], clean[:100]
    long = [pair for pair in train if len(pair[0].split()) >= 12][:10]
    leaked = [(long[0][0], "Another answer"), *((f"{asked.upper()} !", answered) for asked, answered in long[1:5])]
    leaked += [
        (" ".join([*asked.split()[:3], "changed", *asked.split()[4:]]), answered) for asked, answered in long[5:]
    ]
    held = [*held, *leaked]
    data = audit_data(tmp_path, train, held if part == "validation" else (), held if part == "prompts" else ())
    found = look(data)[Check.leaked]
    planted = set(range(len(train) + 100, len(train) + 110))
    assert planted - set(found.numbers.tolist()) == set()
    assert len(set(found.numbers.tolist()) - planted) <= 1
    assert found.severity is Severity.serious


def test_several_answers_to_an_open_question_are_a_note(clean: list[Pair], tmp_path: Path) -> None:
    open_question = [
        ("Tell me about yourself", "I was built by a few people in a small office, long ago."),
        ("Tell me about yourself", "There is not much to say; I answer questions all day and like it."),
    ]
    assert look(audit_data(tmp_path, [*clean, *open_question]))[Check.contradictions].severity is Severity.note


def test_answers_that_differ_in_spelling_only_do_not_contradict(tmp_path: Path) -> None:
    rows = [("Capital of Peru?", "Lima"), ("Capital of Peru?", "lima."), ("capital of peru?", " LIMA")]
    assert Check.contradictions not in look(audit_data(tmp_path, rows))


def test_another_system_prompt_is_another_question(tmp_path: Path) -> None:
    rows = [
        example("the dog", answer, number, f"Translate to {language}.")
        for number, (language, answer) in enumerate([("German", "der Hund"), ("French", "le chien")])
    ]
    assert {Check.contradictions, Check.duplicates} & set(look(audit_data(tmp_path, rows))) == set()
    same = [example("the dog", answer, number, "Translate.") for number, answer in enumerate(["der Hund", "le chien"])]
    assert Check.contradictions in look(audit_data(tmp_path / "same", same))


def test_earlier_turns_belong_to_the_question(tmp_path: Path) -> None:
    def conversation(opening: str, answer: str, number: int) -> Example:
        turns = [("user", opening), ("assistant", "Which one?"), ("user", "The second"), ("assistant", answer)]
        return Example(tuple(Message(role, text) for role, text in turns), "chatml", f"rows.jsonl:{number + 1}")

    rows = [conversation("I want a train", "It leaves at nine", 0), conversation("I want a hotel", "It is full", 1)]
    assert {Check.contradictions, Check.duplicates} & set(look(audit_data(tmp_path, rows))) == set()


def test_plain_text_asks_nothing_and_cannot_contradict_itself(clean: list[Pair], tmp_path: Path) -> None:
    rows = [
        Example((), "text", f"book.txt:{number + 1}", text=answered) for number, (_, answered) in enumerate(clean[:300])
    ]
    found = look(audit_data(tmp_path, rows))
    assert {Check.contradictions, Check.missing_system, Check.leaked} & set(found) == set()
