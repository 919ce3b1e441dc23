"""TensorBoard, read back from its event files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from framework import testing
from framework.hooks.session import current
from framework.run import pipeline
from framework.rundir.folder import save_overrides
from framework.testing.echo import EchoModel, EchoTraining
from framework.util.errors import FrameworkError, PrunedError

SECRET = "open-sesame-42"  # noqa: S105 - planted


@dataclass
class Events:
    """What the event files of a folder hold: scalars and texts by tag with their steps, hyperparameters."""

    scalars: dict[str, list[tuple[int, float]]]
    texts: dict[str, list[tuple[int, str]]]
    hyperparameters: dict[str, Any]


def read(folder: Path) -> Events:
    from tensorboard.plugins.hparams import plugin_data_pb2

    events = Events({}, {}, {})
    for file in sorted(folder.glob("events.*"), key=lambda file: file.stat().st_mtime_ns):
        for event in LegacyEventFileLoader(str(file)).Load():
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                if plugin.plugin_name == "text":
                    tag = value.tag.removesuffix("/text_summary")
                    events.texts.setdefault(tag, []).append((event.step, value.tensor.string_val[0].decode()))
                elif plugin.plugin_name == "hparams":
                    data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
                    found = data.session_start_info.hparams.items()
                    events.hyperparameters |= {name: getattr(one, one.WhichOneof("kind")) for name, one in found}
                else:
                    events.scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return events


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    """Return overrides for a run of three steps that is asked four prompts."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    data = [f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]
    return ["logger=[tensorboard]", "data=local_file", *data, "trainer.max_steps=3"]


def test_a_run_has_curves_answers_and_a_verdict(words: list[str], tmp_path: Path) -> None:
    report = pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert report is not None
    assert report.verdict is not None
    events = read(tmp_path / "tensorboard")
    losses = events.scalars["train/loss"]
    assert [step for step, _ in losses] == [1, 2, 3]
    assert [loss for _, loss in losses] == pytest.approx([1, 1 / 2, 1 / 3])
    assert events.scalars["before/exact_match"] == [(0, 0)]
    assert events.scalars["after/exact_match"] == [(3, 0.75)]
    assert events.scalars["exit_code"] == [(3, 0)]
    ((_, config),) = events.texts["config"]
    assert json.loads(config.removeprefix("```json\n").removesuffix("\n```"))["trainer"]["learning_rate"] == 2e-4
    ((step, answers),) = events.texts["answers"]
    assert step == 3
    assert answers.splitlines()[0].startswith("| prompt | reference | before | after | exact_match before |")
    assert answers.splitlines()[2].startswith("| say 0 | it is 0 | say 0 | it is 0 | 0.0000 | 1.0000 |")
    assert events.texts["measures"][0][1].splitlines()[2].startswith("| eval_loss | task |")
    assert events.texts["verdict"][0][1].splitlines() == [f"- {line}" for line in report.verdict.lines]
    assert events.hyperparameters["trainer.learning_rate"] == 2e-4
    assert not any(name.startswith("data_result") for name in events.hyperparameters)
    assert events.scalars["objective/exact_match"][0][1] == pytest.approx(report.objective.value)


def test_a_cell_cannot_break_the_table(
    words: list[str], rows: list[dict[str, str]], write_rows: Any, tmp_path: Path
) -> None:
    odd = write_rows([{**rows[0], "instruction": "a | b\nc", "output": "long " * 300}])
    pipeline.run(testing.plan([*words, f"data.prompts_path={odd}"], run_dir=tmp_path))
    ((_, answers),) = read(tmp_path / "tensorboard").texts["answers"]
    assert len(answers.splitlines()) == 3
    assert "a \\| b<br>c" in answers
    assert len(answers.splitlines()[2]) < 2000


def test_a_run_that_goes_on_adds_to_the_same_folder(words: list[str], tmp_path: Path) -> None:
    for stages in ("[data,train]", "[evaluate,report]"):
        pipeline.run(testing.plan([*words, f"stages={stages}"], run_dir=tmp_path))
    events = read(tmp_path / "tensorboard")
    assert [step for step, _ in events.scalars["train/loss"]] == [1, 2, 3]
    assert events.scalars["after/exact_match"] == [(3, 0.75)]


def test_troubles_stand_at_their_steps_and_numbers_may_be_none(words: list[str], tmp_path: Path) -> None:
    more = ["trainer.losses=[1,1,nan]", "trainer.eval_steps=1"]
    pipeline.run(testing.plan([*words, *more], run_dir=tmp_path))
    events = read(tmp_path / "tensorboard")
    ((step, text),) = events.texts["issue/nan"]
    assert step == 3
    assert text.startswith("step 3, nan: the loss is nan")
    assert [math.isnan(loss) for _, loss in events.scalars["train/loss"]] == [False, False, True]
    assert len(events.scalars["train/eval_loss"]) == 3


def test_a_failed_run_says_why_without_its_secrets(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)

    def breaks(*_: object) -> None:
        raise RuntimeError(f"out of memory at {SECRET}")

    monkeypatch.setattr(EchoModel, "save_tokenizer", breaks)
    with pytest.raises(FrameworkError, match="out of memory"):
        pipeline.run(testing.plan([*words, f"name={SECRET}"], run_dir=tmp_path))
    events = read(tmp_path / "tensorboard")
    ((step, text),) = events.texts["failed"]
    assert step == 3
    assert text.startswith("ExportError: exporter 'adapter': RuntimeError: out of memory at (hidden) (")
    assert events.scalars["exit_code"] == [(3, 1)]
    files = list((tmp_path / "tensorboard").iterdir())
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


def test_a_point_that_its_sweep_gave_up_has_not_failed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: object) -> None:
        raise PrunedError("too far behind")

    monkeypatch.setattr(EchoTraining, "train", give_up)
    with pytest.raises(PrunedError):
        pipeline.run(testing.plan(words, run_dir=tmp_path))
    events = read(tmp_path / "tensorboard")
    assert events.scalars["exit_code"] == [(0, 0)]
    assert events.texts["pruned"] == [(0, "PrunedError: too far behind")]
    assert "failed" not in events.texts


def test_a_run_that_cannot_be_evaluated_anew_is_marked_too(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    save_overrides(tmp_path, [])
    with pytest.raises(FileNotFoundError):
        pipeline.run(testing.plan([*words, "stages=[evaluate]"], run_dir=tmp_path))
    assert read(tmp_path / "tensorboard").scalars["exit_code"] == [(0, 1)]


def test_without_tensorboard_the_option_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "framework_plugins.trackers.tensorboard_logger", raising=False)
    with pytest.raises(FrameworkError, match=r"'tensorboard' needs the library 'tensorboard': pip install"):
        current().plugins.components("logger")["tensorboard"].load()
