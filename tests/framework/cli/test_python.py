"""Runs started from Python, with the echo backend: the same plan, run and errors as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import framework
from framework import FrameworkError
from framework.api import records
from framework.api.records import Report
from framework.cli.python import TrainedModel
from framework.rundir.folder import saved_overrides

Settings = dict[str, Any]


@pytest.fixture
def settings(data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a run in the echo model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    chosen = {"model": "echo", "trainer": "echo", "data": "local_file", "data.path": data_file, "logger": []}
    return {**chosen, "evaluator": [], "exporter": [], "metric": ["exact_match"], "run_dir": "run"}


def test_a_mapping_trains_and_the_report_is_that_of_the_folder(settings: Settings, tmp_path: Path) -> None:
    report = framework.train(settings)
    assert report.verdict is not None
    assert report == framework.load_report("run") == records.load(Report, tmp_path / "run/report.json")
    assert saved_overrides("run")[:3] == ["model=echo", "trainer=echo", "data=local_file"]


def test_a_model_answers_in_the_folder_that_its_caller_is_in(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framework.train(settings)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with framework.load_model(tmp_path / "run") as model:
        assert Path.cwd() == tmp_path / "elsewhere"
        assert model.answer(["say 3", "say 4"]) == ["it is 3", "it is 4"]
        with model.as_base():
            assert model.answer(["say 3"]) != ["it is 3"]
        with pytest.raises(FrameworkError, match="give a list of prompts"):
            model.answer("say 3")


def test_settings_of_groups_may_be_mappings_and_of_their_options_too(settings: Settings) -> None:
    columns = {"instruction": "instruction", "output": "output"}
    nested = {"format": {"columns": columns}, "verdict": {"confidence": 0.9}}
    report = framework.train({**settings, **nested, "data.validation_split": 0.3})
    assert report.objective.value is not None
    words = saved_overrides("run")
    assert {"format.columns={instruction:instruction,output:output}", "verdict={confidence:0.9}"} <= {*words}


def test_models_are_open_side_by_side_and_a_training_within_from_any_thread(settings: Settings) -> None:
    framework.train(settings)
    one, two = framework.load_model("run"), framework.load_model("run")
    with one as first:
        second = two.__enter__()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(first.answer, ["say 3"]).result() == ["it is 3"]
            report = pool.submit(framework.train, {**settings, "run_dir": "again"}).result()
        assert report.verdict is not None
    assert second.answer(["say 4"]) == ["it is 4"]
    two.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"prompts": [None]}, r"answer\(\[None\]\): a prompt is a text"),
        ({"prompts": [5]}, r"answer\(\[5\]\): a prompt is a text"),
        ({"prompts": [b"x"]}, r"answer\(\[b'x'\]\): a prompt is a text"),
        ({"prompts": 5}, r"answer\(5\): give a list of prompts"),
        ({"prompts": np.array("a")}, r"answer\(array\('a'.*give a list of prompts.*: TypeError: iteration over a 0-d"),
        ({"prompts": ["a"], "max_new_tokens": 0}, "max_new_tokens=0"),
        ({"prompts": ["a"], "system_prompt": 5}, "system_prompt=5"),
    ],
)
def test_what_is_no_prompt_is_refused(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(FrameworkError, match=text):
        TrainedModel(cast("Any", None), "").answer(**asked)


RING: list[Any] = []
RING.append(RING)
WRONG_TYPES: list[tuple[Any, str]] = [
    (None, "None: give a list of overrides"),
    (5, "5: give a list of overrides"),
    (b"a=1", "b'a=1': give a list of overrides"),
    ([["trainer.max_steps", 2]], "is not an override such as 'trainer.max_steps=20'"),
    ([("a", 1)], r"\('a', 1\) is not an override"),
    ([Path("a=1")], "is not an override such as"),
    ({5: 1}, "the key 5 is not a text"),
    ({"trainer": {None: 1}}, "the key None is not a text"),
    ({"stages": RING}, "stages holds itself"),
    (RING, "is not an override such as"),
    ({"name": object()}, "name=<object object at .*> is of the type object"),
    ({"name": b"x"}, "name=b'x' is of the type bytes"),
    (
        {"trainer": {"max_steps": 2}, "trainer.max_steps": 3},
        "trainer.max_steps=2 and trainer.max_steps=3 set the same key",
    ),
]


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["trainer.lerning_rate=1"], "Did you mean 'trainer.learning_rate'"),
        ({"trainer": {"lerning_rate": 1}}, "Did you mean 'trainer.learning_rate'"),
        ({"metric": {"exact_match": {"nomalize": True}}}, "exact_match.nomalize"),
        ("+experiment=quickstart", "give a list of overrides"),
        (["-m", "seed=1,2"], "'-m' is not an override"),
        (["stages=[data]"], r"set stages=\[data,report\]"),
        (map(float, "a"), "give a list of overrides"),  # what raises when it is read
        (["exporter=['\x1b[31m',1]"], r"exporter=\['\\x1b\[31m',1\]: exporter takes a list of names"),
        *(pytest.param(given, text, id=text) for given, text in WRONG_TYPES),
    ],
)
def test_a_mistake_is_an_error_and_leaves_nothing(
    overrides: Sequence[str] | Mapping[str, Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrameworkError, match=text):
        framework.train(overrides)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_report_or_weights_is_an_error(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="there is no such folder"):
        framework.load_report("nowhere")
    with (
        pytest.raises(FrameworkError, match="xxx…: a name of a file has at most 255 bytes"),
        framework.load_model("x" * 300),
    ):
        pass
    framework.train({**settings, "stages": ["data", "evaluate", "report"], "checkpoint": _trained(settings)})
    (tmp_path / "run/report.json").unlink()
    with pytest.raises(FrameworkError, match=r"holds no report\.json: the run has not come to its end"):
        framework.load_report(tmp_path / "run")


def _trained(settings: Settings) -> str:
    framework.train({**settings, "run_dir": "trained"})
    return "trained/checkpoint"
