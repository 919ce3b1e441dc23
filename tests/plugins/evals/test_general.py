"""The general suite: what its questions, instructions and texts have to be to tell anything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from framework_plugins.evals.general import suite
from framework_plugins.evals.harness.catalog import GENERAL_SUITE, Catalog, read_task_file


def questions() -> list[tuple[str, dict[str, Any]]]:
    return [(subject, row) for subject in suite.SUBJECTS for row in suite.rows(f"questions/{subject}")]


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
