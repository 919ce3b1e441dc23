"""The general suite: what its questions, instructions and texts have to be to tell anything."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from framework_plugins.evals.general import suite
from framework_plugins.evals.harness.catalog import GENERAL_SUITE, Catalog, read_task_file

WORDS = re.compile(r"\w+")


def questions() -> list[tuple[str, dict[str, Any]]]:
    return [(subject, row) for subject in suite.SUBJECTS for row in suite.rows(f"questions/{subject}")]


def plain(text: str) -> str:
    return " ".join(WORDS.findall(text.casefold()))


def alike(one: str, two: str) -> bool:
    compared = SequenceMatcher(None, one, two, autojunk=False)
    return compared.real_quick_ratio() > 0.9 and compared.quick_ratio() > 0.9 and compared.ratio() > 0.9


def test_there_are_128_questions_over_eight_subjects() -> None:
    assert Counter(subject for subject, _ in questions()) == dict.fromkeys(suite.SUBJECTS, suite.QUESTIONS)
    assert len(suite.SUBJECTS) == 8


@pytest.mark.parametrize("subject", suite.SUBJECTS)
def test_each_question_has_four_different_choices_and_one_answer(subject: str) -> None:
    for row in suite.rows(f"questions/{subject}"):
        assert set(row) == {"text", "choices", "answer"}
        assert len({choice.casefold() for choice in row["choices"]}) == 4, row
        assert row["answer"] in range(4), row
        assert all(choice and choice == choice.strip() and choice.isascii() for choice in row["choices"]), row
        assert row["text"].isascii(), row
        assert row["text"] == row["text"].strip(), row
        assert not row["text"].endswith((".", "?")), row  # the choice continues the sentence


@pytest.mark.parametrize("count", range(4, suite.QUESTIONS + 1, 4))
def test_the_right_answers_stand_at_each_place_equally_often(count: int) -> None:
    for subject in suite.SUBJECTS:
        first = suite.rows(f"questions/{subject}")[:count]
        assert Counter(row["answer"] for row in first) == dict.fromkeys(range(4), count // 4), subject


def test_the_right_answer_is_not_given_away_by_its_length() -> None:
    sizes = [[len(choice) for choice in row["choices"]] for _, row in questions()]
    right = [row["answer"] for _, row in questions()]
    longest, shortest = (
        sum(
            size.count(end(size)) == 1 and size.index(end(size)) == place
            for size, place in zip(sizes, right, strict=True)
        )
        for end in (max, min)
    )
    assert longest < 128 * 0.35
    assert shortest < 128 * 0.35


def test_there_are_64_instructions_of_eight_kinds_in_turn() -> None:
    rows = suite.rows("instructions")
    kinds = [row["kind"] for row in rows]
    assert len(rows) == 64
    assert len(set(kinds)) == 8
    assert kinds == kinds[:8] * 8  # so that the first few are of every kind
    for row in rows:
        assert set(row) == {"kind", "instruction", "answer"}
        assert row["instruction"].isascii(), row
        assert row["answer"].isascii(), row
        assert 2 <= len(row["instruction"].split()) <= 25, row
        assert 1 <= len(row["answer"].split()) <= 20, row


def test_there_are_64_texts_of_a_paragraph_each() -> None:
    rows = suite.rows("texts")
    assert len(rows) == 64
    for row in rows:
        assert set(row) == {"text"}
        assert row["text"].isascii()
        assert 25 <= len(row["text"].split()) <= 60, row
        assert row["text"].endswith("."), row


def test_nothing_is_asked_twice() -> None:
    asked = [plain(row["text"]) for _, row in questions()]
    told = [plain(row["instruction"]) for row in suite.rows("instructions")]
    texts = [plain(row["text"]) for row in suite.rows("texts")]
    for group in (asked, told, texts):
        assert len(set(group)) == len(group)
        close = [(one, two) for one, two in combinations(group, 2) if alike(one, two)]
        assert close == []
    assert not {*asked} & {*told}


def test_the_answer_to_one_question_is_not_given_by_another() -> None:
    facts = [plain(f"{row['text']} {row['choices'][row['answer']]}") for _, row in questions()]
    assert [(one, two) for one, two in combinations(facts, 2) if one in two or two in one] == []


@pytest.mark.parametrize("file", sorted(GENERAL_SUITE.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_task_is_named_like_its_file(file: Path) -> None:
    settings = read_task_file(file)
    assert settings.get("group", settings["task"]) == file.stem
    assert settings["metadata"] == {"version": 1}


def test_the_group_holds_every_subject() -> None:
    tasks = Catalog().tasks("general")
    assert [task.name for task in tasks] == [f"general_{subject}" for subject in suite.SUBJECTS]
    assert [task.settings["dataset_kwargs"]["subject"] for task in tasks] == list(suite.SUBJECTS)
    assert all(task.settings["output_type"] == "multiple_choice" for task in tasks)
