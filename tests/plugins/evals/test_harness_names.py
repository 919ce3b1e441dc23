"""Mistakes in the settings of lm-eval's tasks are reported before loading, and its figures can be objectives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework_plugins.evals.config import LmEvalConfig
from framework_plugins.evals.harness import evaluator
from framework_plugins.evals.harness.evaluator import LmEval
from framework_plugins.evals.harness.names import measures, problems
from tests.support.harness_tasks import TASKS, write_task, write_tasks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks")


def told(**settings: Any) -> list[str]:
    config = LmEvalConfig(**settings)
    return [problem.text for problem in problems("lm_eval", config.tasks, config.include_path)]


def test_tasks_that_are_there_are_fine(folder: Path) -> None:
    assert told() == []
    names = ["both", "likely", "rolling", "general_*", "hellaswag", str(folder / "said.yaml")]
    assert told(tasks=names, include_path=str(folder)) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("general_histroy", "Did you mean 'general_history'"),
        ("helaswag", "Did you mean 'hellaswag'"),
        ("folows", "Did you mean 'follows'? In include_path: both, follows, likely, rolling, said."),
        ("nowhere.yaml", "'nowhere.yaml' cannot be read"),
    ],
)
def test_an_unknown_task_is_reported_with_the_nearest(folder: Path, name: str, hint: str) -> None:
    (problem,) = told(tasks=[name, "follows"], include_path=str(folder))
    assert problem.startswith("evaluator.lm_eval.tasks: ")
    assert hint in problem


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    (problem,) = told(include_path=str(tmp_path / "none"))
    assert problem == f"evaluator.lm_eval.include_path={tmp_path / 'none'} is not a folder with YAML task files"


def test_data_files_that_are_not_there_are_reported_with_the_task(folder: Path) -> None:
    (folder / "follows.jsonl").unlink()
    (problem,) = told(tasks=["both"], include_path=str(folder))
    assert re.fullmatch(
        r".*the data of 'follows' are missing: no follows.jsonl in the working folder or in .*", problem
    )
    assert str(folder / "follows.yaml") in problem


def test_answers_drawn_by_chance_are_reported(tmp_path: Path) -> None:
    rows, settings = TASKS["said"]
    write_task(tmp_path, "poem", rows, settings.replace("do_sample: false", "do_sample: true"))
    (problem,) = told(tasks=["poem"], include_path=str(tmp_path))
    assert "'poem' samples its answers" in problem


def test_a_plan_tells_all_of_it_at_once(tmp_path: Path) -> None:
    words = ["evaluator=[lm_eval]", "evaluator.lm_eval.tasks=[helaswag]", "objective=general.acc"]
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=tmp_path / "run")
    assert "unknown task 'helaswag'. Did you mean 'hellaswag'" in str(caught.value)
    assert "objective=general.acc" in str(caught.value)


@pytest.mark.parametrize("objective", ["general.acc", "general_code.acc"])
def test_a_figure_of_a_task_can_be_the_objective(tmp_path: Path, objective: str) -> None:
    words = ["evaluator=[lm_eval]", f"objective={objective}"]
    assert testing.plan(words, run_dir=tmp_path / "run").settings.objective == objective


def test_the_figures_are_those_that_the_files_name(folder: Path) -> None:
    assert measures(["both", "likely", "rolling"], str(folder)) == (
        "both.acc",
        "follows.acc",
        "follows.acc_norm",
        "said.exact_match",
        "likely.perplexity",
        "likely.acc",
        "rolling.word_perplexity",
        "rolling.byte_perplexity",
        "rolling.bits_per_byte",
    )
    assert measures(["gsm8k"], None) == (
        "gsm8k.exact_match.strict-match",
        "gsm8k.exact_match.flexible-extract",
    )
    assert LmEvalConfig(tasks=["no_such_task"]).measures() == ()


@pytest.mark.parametrize(("offline", "why"), [(True, "HF_HUB_OFFLINE is set"), (False, "the Hub cannot be reached")])
def test_data_that_cannot_be_had_are_reported_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, offline: bool, why: str
) -> None:
    monkeypatch.setattr(evaluator, "CACHE", str(tmp_path))
    monkeypatch.setattr(evaluator, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(evaluator, "reachable", lambda _: False)
    with pytest.raises(FrameworkError) as caught:
        LmEval(LmEvalConfig(tasks=["general", "hellaswag"]))
    (line,) = str(caught.value).splitlines()
    assert f"'hellaswag' needs the data set Rowan/hellaswag, which is not in the cache, and {why}: run it once" in line
    (tmp_path / "datasets--Rowan--hellaswag").mkdir()
    LmEval(LmEvalConfig(tasks=["general", "hellaswag"]))


def test_data_sets_of_the_hub_are_left_to_it_where_it_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluator, "CACHE", str(tmp_path))
    monkeypatch.setattr(evaluator, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(evaluator, "reachable", lambda _: True)
    LmEval(LmEvalConfig(tasks=["hellaswag"]))
