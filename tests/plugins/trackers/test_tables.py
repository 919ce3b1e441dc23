"""What trackers show of a run besides its curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.api.records import Sample, Step
from framework_plugins.trackers.tables import (
    answers,
    answers_of_one,
    flattened,
    learned_answers,
    page,
    run_name,
    settings,
    step_values,
    weights,
)
from tests.support.results import AMISS

BEFORE = Sample("say 1", "say 1", "it is 1", stopped=True, scores={"exact_match": 0.0})
AFTER = Sample("say 1", "it is 1", "it is 1", stopped=True, scores={"exact_match": 1.0, "bleu": 0.9})


def test_answers_stand_side_by_side_with_their_scores() -> None:
    table = answers([(BEFORE, AFTER), (None, AFTER)], 10)
    assert table.columns == [
        *("prompt", "reference", "before", "after"),
        *("exact_match before", "exact_match after", "bleu before", "bleu after"),
    ]
    assert table.rows == [
        ["say 1", "it is 1", "say 1", "it is 1", 0.0, 1.0, None, 0.9],
        ["say 1", "it is 1", None, "it is 1", None, 1.0, None, 0.9],
    ]


@pytest.mark.parametrize(("most", "expected"), [(0, 0), (1, 1), (5, 2)])
def test_no_more_answers_are_shown_than_were_asked_for(most: int, expected: int) -> None:
    assert len(answers([(BEFORE, AFTER)] * 2, most).rows) == expected
    assert len(answers_of_one([AFTER] * 2, most).rows) == expected


def test_answers_have_passed_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "open-sesame-42")
    leak = Sample("say open-sesame-42", "it is open-sesame-42", None, stopped=True, scores={})
    assert "open-sesame-42" not in str(answers([(leak, leak)], 1).rows) + str(answers_of_one([leak], 1).rows)


def test_numbers_of_a_step_have_names_and_a_validation_only_where_there_was_one() -> None:
    step = Step(1, 2, 0.5, 1.0, 2e-4, 1.0, 10, 0.1)
    assert "train/eval_loss" not in step_values(step)
    assert step_values(step)["train/loss"] == 1.0
    validated = Step(1, 2, 0.5, 1.0, 2e-4, 1.0, 10, 0.1, 0.5, {"exact_match": 0.25})
    assert (step_values(validated)["train/eval_loss"], step_values(validated)["train/exact_match"]) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, []), (1, [1]), (4, [1, 1, 9, 9]), (7, [1, 1, 7, 7, 13, 13]), (16, sorted([*range(1, 17, 2)] * 2))],
)
def test_answers_that_were_learned_from_are_of_steps_from_all_over_the_training(most: int, expected: list[int]) -> None:
    table = learned_answers({step: [AFTER, BEFORE] if step % 2 else [] for step in range(1, 17)}, most)
    assert [row[0] for row in table.rows] == expected
    assert table.columns[:4] == ["step", "prompt", "reference", "answer"]


def test_no_row_is_quoted_in_the_settings(tmp_path: Path) -> None:
    values = settings(testing.plan([], run_dir=tmp_path), AMISS, {"device": "none"})
    assert values["data_result"]["findings"][0]["rows"] == AMISS.findings[0].rows
    assert values["data_result"]["view"] == []
    assert not any(finding["examples"] for finding in values["data_result"]["findings"])
    assert values["hardware"] == {"device": "none"}
    assert values["options"]["adapter"] == "lora"
    assert values["options"]["metric.token_f1"] == "token_f1"  # by its name it could be a secret


def test_a_config_is_flat_by_its_paths() -> None:
    assert dict(flattened({"a": {"b": 1, "c": {}}, "d": [1]})) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_the_page_of_an_earlier_run_is_none_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>", encoding="utf-8")
    assert page(testing.plan(["logger=[html]"], run_dir=tmp_path)) == "<p>"
    assert page(testing.plan(["logger=[]"], run_dir=tmp_path)) == ""
    assert page(testing.plan(["logger=[html]"], run_dir=tmp_path / "other")) == ""


def test_the_exported_adapter_comes_before_the_checkpoint_and_an_empty_folder_is_none(tmp_path: Path) -> None:
    plan = testing.plan(["exporter=[adapter]", "exporter.adapter.folder=mine"], run_dir=tmp_path)
    assert weights(plan) is None
    for name in ("checkpoint", "mine"):
        (tmp_path / name).mkdir()
        assert weights(plan) in {None, tmp_path / "checkpoint"}
        (tmp_path / name / "x").touch()
        assert weights(plan) == tmp_path / name


def test_a_run_is_named_after_its_config_and_folder(tmp_path: Path) -> None:
    plan = testing.plan(["name=mine"], run_dir=tmp_path / "monday")
    assert (run_name(None, plan), run_name("first", plan)) == ("mine-monday", "first")
