"""Tasks are loaded once, run on the model in memory, and give the figures of lm-eval itself."""

from __future__ import annotations

import json
import logging
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework import FrameworkError
from framework.api.data import Data
from framework.api.records import Aspect, EvalResult
from framework_plugins.evals.config import LmEvalConfig
from framework_plugins.evals.harness.catalog import Catalog
from framework_plugins.evals.harness.evaluator import LmEval
from framework_plugins.evals.harness.model import HarnessModel
from framework_plugins.evals.harness.run import LoadedTasks, RunSettings
from framework_plugins.hf.model import HFModel
from tests.support.harness_tasks import TASKS, write_task, write_tasks
from tests.support.results import EVEN
from tests.support.tiny import tiny_chatml
from tests.support.training import with_adapter

NO_DATA = Data([], [], [], EVEN)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    with with_adapter(tmp_path_factory.mktemp("base"), tiny_chatml) as model:
        yield model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(autouse=True)
def data_sets_are_kept_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


def by_lm_eval(model: HFModel, folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    """Return what lm-eval's own function says, with its own wrapper around the same weights."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    theirs = HFLM(pretrained=model.model.eval(), tokenizer=model.tokenizer, batch_size=4)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(theirs, tasks=names, task_manager=manager, bootstrap_iters=100, **settings)


WAYS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"num_fewshot": 2}, {"num_fewshot": 2}),
    (
        {"apply_chat_template": True, "num_fewshot": 1, "system_instruction": "Be brief."},
        {"apply_chat_template": True, "num_fewshot": 1, "system_instruction": "Be brief."},
    ),
    (
        {"apply_chat_template": True, "num_fewshot": 1, "fewshot_as_multiturn": False, "limit": 0.5},
        {"apply_chat_template": True, "num_fewshot": 1, "fewshot_as_multiturn": False, "limit": 0.5},
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), WAYS)
def test_the_figures_and_their_standard_errors_are_those_of_lm_eval(
    model: HFModel,
    folder: Path,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["both", "likely", "rolling"]
    config = LmEvalConfig(tasks=names, include_path=str(folder), bootstrap_iters=100, **ours)
    result = LmEval(config).evaluate(model, NO_DATA, {})
    theirs = {"fewshot_as_multiturn": bool(theirs.get("apply_chat_template")), **theirs}
    wanted = by_lm_eval(model, folder, names, monkeypatch, **theirs)
    figures = {
        f"{task}.{key.partition(',')[0]}": value
        for task, row in wanted["results"].items()
        for key, value in row.items()
        if "," in key and value != "N/A"
    }
    told = {name: measure.value for name, measure in result.measures.items()}
    told |= {
        f"{name}_stderr": measure.stderr for name, measure in result.measures.items() if measure.stderr is not None
    }
    assert {"both.acc", "follows.acc", "follows.acc_norm", "said.exact_match", "likely.perplexity"} <= set(told)
    assert told == pytest.approx(figures, rel=1e-4)
    assert result.notes == []


def test_each_measure_has_the_value_of_every_document(model: HFModel, folder: Path) -> None:
    names = ["both", "likely", "rolling"]
    result = LmEval(LmEvalConfig(tasks=names, include_path=str(folder))).evaluate(model, NO_DATA, {})
    rows = {name: len(rows) for name, (rows, _) in TASKS.items()}
    for name, measure in result.measures.items():
        task = name.split(".")[0]
        assert len(measure.items) == rows.get(task, rows["follows"]), name
        weights = measure.weights or [1.0] * len(measure.items)
        mean = np.average([item for item in measure.items if item is not None], weights=weights)
        assert (np.exp(mean) if measure.exponential else mean) == pytest.approx(measure.value), name
        assert measure.aspect is Aspect.general
    assert result.measures["rolling.word_perplexity"].exponential
    assert not result.measures["rolling.word_perplexity"].higher_is_better
    assert result.measures["follows.acc"].higher_is_better


def test_the_first_answers_of_a_task_are_kept(model: HFModel, folder: Path) -> None:
    config = LmEvalConfig(tasks=["said", "follows"], include_path=str(folder), samples=2, aspect=Aspect.task)
    result = LmEval(config).evaluate(model, NO_DATA, {})
    assert [sample.prompt for sample in result.samples] == [
        "Add the two numbers. 0 and 1",
        "Add the two numbers. 1 and 1",
    ]
    for sample, answer in zip(result.samples, ("1", "2"), strict=True):
        assert sample.reference == answer
        assert set(sample.scores) == {"said.exact_match"}
        assert sample.tokens > 0
        assert "." not in sample.answer
    assert result.measures["said.exact_match"].aspect is Aspect.task


def test_an_evaluation_leaves_the_seeds_and_draws_the_same_examples_again(model: HFModel, folder: Path) -> None:
    config = LmEvalConfig(tasks=["follows"], include_path=str(folder), num_fewshot=2)
    evaluator = LmEval(config)
    random.seed(5)
    torch.manual_seed(5)
    before = (random.getstate(), torch.random.get_rng_state().tolist(), pickle.dumps(np.random.get_state()))  # noqa: NPY002 - the one that lm-eval sets
    first = evaluator.evaluate(model, NO_DATA, {})
    assert (random.getstate(), torch.random.get_rng_state().tolist(), pickle.dumps(np.random.get_state())) == before  # noqa: NPY002
    assert evaluator.evaluate(model, NO_DATA, {}) == first


def test_nothing_is_printed(model: HFModel, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LmEval(LmEvalConfig(tasks=["likely"], include_path=str(folder))).evaluate(model, NO_DATA, {})
    assert capfd.readouterr() == ("", "")


def test_the_base_and_the_tuned_model_are_asked_through_one(model: HFModel, folder: Path) -> None:
    evaluator = LmEval(LmEvalConfig(tasks=["rolling"], include_path=str(folder)))
    tuned = evaluator.evaluate(model, NO_DATA, {})
    with model.as_base():
        base = evaluator.evaluate(model, NO_DATA, {})
    assert base.metrics != tuned.metrics
    assert evaluator.evaluate(model, NO_DATA, {}) == tuned


def test_data_files_beside_the_task_are_found_from_anywhere(
    model: HFModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, settings = TASKS["follows"]
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        place.mkdir()
    file = write_task(there, "follows", rows, settings)
    monkeypatch.chdir(here)
    assert (Path.cwd(), measured(model, str(file))) == (here, len(rows))
    (here / "follows.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert measured(model, str(file)) == 1  # as lm-eval has it, the working folder comes first


def test_a_relative_folder_of_tasks_is_below_the_working_folder(
    model: HFModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    result = LmEval(LmEvalConfig(tasks=["likely"], include_path=folder.name)).evaluate(model, NO_DATA, {})
    assert result == LmEval(LmEvalConfig(tasks=["likely"], include_path=str(folder))).evaluate(model, NO_DATA, {})


def measured(model: HFModel, task: str) -> int:
    """Return how many documents a task has."""
    result: EvalResult = LmEval(LmEvalConfig(tasks=[task])).evaluate(model, NO_DATA, {})
    return len(result.measures["follows.acc"].items)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            "output_type: multiple_choice\ndoc_to_text: text\ndoc_to_choice: '{{nothing}}'\ndoc_to_target: answer\n",
            "load",
        ),
        ("output_type: poem\ndoc_to_text: text\ndoc_to_target: answer\n", "load"),
    ],
)
def test_a_task_that_cannot_be_loaded_is_named(model: HFModel, tmp_path: Path, settings: str, told: str) -> None:
    write_task(tmp_path, "broken", TASKS["follows"][0], settings)
    with pytest.raises(FrameworkError, match=f"^lm_eval task 'broken' cannot be {told}ed: ") as caught:
        LmEval(LmEvalConfig(tasks=["broken"], include_path=str(tmp_path))).evaluate(model, NO_DATA, {})
    assert len(str(caught.value).splitlines()) == 1


def test_a_task_whose_code_fails_is_reported_with_the_line(model: HFModel, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(doc, results):\n    return {'acc': 1 / 0}\n", encoding="utf-8")
    rows, settings = TASKS["follows"]
    write_task(tmp_path, "mine", rows, settings + "process_results: !function mine.score\n")
    with pytest.raises(FrameworkError, match=r"lm_eval tasks mine: ZeroDivisionError: .*mine\.py:2"):
        LmEval(LmEvalConfig(tasks=["mine"], include_path=str(tmp_path))).evaluate(model, NO_DATA, {})


def test_the_general_suite_is_there_without_a_folder(model: HFModel) -> None:
    tasks = LoadedTasks(["general", "general_instructions", "general_texts"], Catalog())
    results = tasks.run(HarnessModel(model), RunSettings(limit=2))
    assert results["n-samples"]["general_code"] == {"original": 16, "effective": 2}
    assert results["results"]["general"]["acc,none"] is not None
    assert len(results["samples"]["general_texts"]) == 2
