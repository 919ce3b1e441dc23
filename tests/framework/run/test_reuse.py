"""Trials with the same training train once, and their results are those of single runs."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import hookimpl, testing
from framework.api.records import Step, TrainResult, load
from framework.api.schema import TrainerConfig
from framework.hooks.session import current
from framework.run import pipeline, reuse
from framework.rundir.folder import SCRATCH
from framework.testing.echo import EchoTraining
from framework.util.errors import FrameworkError, PrunedError
from framework_plugins.lib.sentences import health_facts

RESULTS = ("train.json", "evaluate.json", "report.json")
OWN = {"seconds", "run_dir", "finished", "artifacts", "taken_from", "tokens_per_second", "supervised_tokens_per_second"}
"""What differs from one run to the next in any case, or because points have other exporters."""
LOSSES = ("trainer.eval_steps=4", "trainer.eval_losses=[3,1,2,2.5,3]")
"""The validation loss rises, of which the run warns."""
Run = Callable[..., Path]


@pytest.fixture(autouse=True)
def sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep things as in a sweep, of a model whose points can share."""
    monkeypatch.setattr(testing.EchoModel, "base_key", "one", raising=False)
    current().shared.open()
    yield
    current().shared.close()


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the checkpoints of all trainings, as they are made."""
    made: list[Path] = []
    train = EchoTraining.train

    def noted(training: EchoTraining) -> TrainResult:
        made.append(training.run.checkpoint)
        return train(training)

    monkeypatch.setattr(EchoTraining, "train", noted)
    return made


@pytest.fixture
def run(rows: list[dict[str, str]], write_rows: Callable[..., Path], tmp_path: Path) -> Run:
    """Return what runs a point into a folder."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    words = ["data=local_file", f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]

    def point(folder: str, *more: str) -> Path:
        pipeline.run(testing.plan([*words, "logger=[jsonl]", "audit=[]", *more], run_dir=tmp_path / folder))
        return tmp_path / folder

    return point


def results(folder: Path) -> dict[str, Any]:
    """Return what a run came to."""

    def kept(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: kept(part) for name, part in found.items() if name not in OWN}
        return [kept(part) for part in found] if isinstance(found, list) else found

    return {name: kept(json.loads((folder / name).read_text(encoding="utf-8"))) for name in RESULTS}


def events(folder: Path) -> list[dict[str, Any]]:
    """Return what loggers received of the training and the evaluations."""
    told = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = [event for event in told if event["event"] in {"step", "issue", "evaluated"}]
    return [{name: value for name, value in event.items() if name != "seconds"} for event in chosen]


def test_points_with_other_exporters_train_once_and_come_to_the_same(run: Run, trainings: list[Path]) -> None:
    first = run("0", "exporter=[adapter]", *LOSSES)
    second = run("1", "exporter=[model_card]", "objective=train_loss", "name=other", *LOSSES)
    assert trainings == [first / "checkpoint"]
    current().shared.close()
    alone = run("alone", "exporter=[model_card]", "objective=train_loss", "name=other", *LOSSES)
    assert len(trainings) == 2
    assert results(second) == results(alone)
    assert events(second) == events(alone)
    assert [event["kind"] for event in events(second) if event["event"] == "issue"] == ["rising_eval_loss"]
    weights = [(folder / "checkpoint" / "echo.json").read_bytes() for folder in (first, second, alone)]
    assert len(set(weights)) == 1
    assert not list(second.glob("*.part"))


def test_points_that_a_group_trains_train_once(
    run: Run, trainings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "check_distributed", lambda *_: None)  # as of a model that a group can train
    for number, exporter in enumerate(("adapter", "model_card")):
        run(str(number), "launch=ddp", "launch.processes=1", f"exporter=[{exporter}]")
    assert len(trainings) == 1


def test_a_point_says_whose_training_it_has(run: Run) -> None:
    first, second = run("0"), run("1", "exporter=[]")
    trained = [load(TrainResult, folder / "train.json") for folder in (first, second)]
    assert [each.taken_from for each in trained] == ["", "../0"]
    told = [fact.text for fact in health_facts(trained[1], TrainerConfig())]
    assert "../0, whose training has the same settings" in told


def test_points_that_differ_otherwise_train_each(run: Run, trainings: list[Path]) -> None:
    words = (
        "trainer.learning_rate=1e-3", "seed=7", "data.max_rows=3", "format.system_prompt=Hi", "evaluator=[]",
        "evaluator.prompts.max_new_tokens=3", "metric=[token_f1]", "verdict.margin=0.1", "health.spike=stop",
        "stages=[plan,data,train,report]",
    )  # fmt: skip
    run("0")
    folders = [run(f"{number}", word) for number, word in enumerate(words, start=1)]
    assert trainings[1:] == [folder / "checkpoint" for folder in folders]


def test_another_base_is_another_training(run: Run, trainings: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for number, key in enumerate(("one", "two", "")):
        monkeypatch.setattr(testing.EchoModel, "base_key", key)
        run(f"{number}")
    run("3")
    assert len(trainings) == 4


def test_points_that_do_not_share_train_each(run: Run, trainings: list[Path]) -> None:
    current().shared.close()
    run("0")
    run("1")
    assert len(trainings) == 2


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_weights_that_are_not_what_was_trained_are_not_taken(run: Run, trainings: list[Path], spoil: str) -> None:
    first = run("0") / "checkpoint"
    if spoil == "change":
        (first / "echo.json").write_text("[{}, []]", encoding="utf-8")
    else:
        shutil.rmtree(first)
    second = run("1")
    assert len(trainings) == 2
    assert json.loads((second / "train.json").read_text(encoding="utf-8"))["taken_from"] == ""


def test_a_point_that_runs_again_trains_again(run: Run, trainings: list[Path]) -> None:
    run("0")
    run("0", "exporter=[]")
    assert len(trainings) == 2


def test_what_was_not_measured_is_measured(run: Run) -> None:
    first = run("0")
    (first / "evaluate.json").unlink()
    second = run("1", "exporter=[]")
    current().shared.close()
    assert results(second) == results(run("alone", "exporter=[]"))


def test_the_oldest_training_makes_room(run: Run, trainings: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "MAX_TRAININGS", 2)
    for number, rate in enumerate(("1e-3", "2e-3", "3e-3", "2e-3", "1e-3")):
        run(f"{number}", f"trainer.learning_rate={rate}")
    assert [checkpoint.parent.name for checkpoint in trainings] == ["0", "1", "2", "4"]


class Impatient:
    """Gives up whatever is validated."""

    @hookimpl
    def framework_prune_reasons(self, step: Step) -> list[str]:
        return [f"hopeless at {step.step}"]


def test_a_training_that_a_sweep_gives_up_now_is_not_taken(run: Run, tmp_path: Path) -> None:
    run("0", *LOSSES)
    plugin = Impatient()
    current().plugins.add(plugin, name="impatient")
    try:
        with pytest.raises(PrunedError, match="hopeless"):
            run("1", "exporter=[]", *LOSSES)
    finally:
        current().plugins.manager.unregister(plugin)
    assert not (tmp_path / "1" / "checkpoint").exists()


def test_settings_that_look_like_secrets_tell_trainings_apart(run: Run, trainings: list[Path]) -> None:
    for number, word in enumerate(("alpha", "beta", "alpha")):
        run(f"{number}", f"format.system_prompt='Say token={word}'", "exporter=[]")
    assert [checkpoint.parent.name for checkpoint in trainings] == ["0", "1"]


def test_a_point_tells_what_only_the_training_has_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    train = EchoTraining.train

    def shown(training: EchoTraining) -> TrainResult:
        facts: Any = training.model.facts
        facts["packing"] = "padding (memory ran out)"
        return train(training)

    monkeypatch.setattr(EchoTraining, "train", shown)
    for folder in (run("0"), run("1", "exporter=[]")):
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert report["hardware"]["packing"] == "padding (memory ran out)"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("evaluate.json", "{"),
        ("evaluate.json", '{"measures": {}, "notes": ["the judge is down"]}'),
    ],
)
def test_what_is_damaged_or_could_not_be_measured_is_measured_again(run: Run, name: str, text: str) -> None:
    first = run("0")
    (first / name).write_text(text, encoding="utf-8")
    second = run("1", "exporter=[]")
    current().shared.close()
    assert results(second) == results(run("alone", "exporter=[]"))


def test_what_an_ended_training_left_is_gone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[Path] = []

    def forget(model: testing.EchoModel) -> None:
        forgotten.append(model.plan.run_dir)

    monkeypatch.setattr(testing.EchoModel, "forget_checkpoints", forget, raising=False)
    run("0")
    (tmp_path / "1" / SCRATCH).mkdir(parents=True)
    (tmp_path / "1" / "overrides.json").write_text("[]", encoding="utf-8")
    run("1", "exporter=[]")
    assert forgotten == [tmp_path / "0", tmp_path / "1"]  # when the result of the training is saved
    assert not (tmp_path / "1" / SCRATCH).exists()


def test_weights_that_find_no_room_are_reported_and_leave_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, target: Path, **__: bool) -> None:
        (target / "half").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    run("0")
    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(FrameworkError, match=r"were not copied to .*1/checkpoint: No space left on device\. Set hydra"):
        run("1", "exporter=[]")
    assert not list((tmp_path / "1").glob("checkpoint*"))
