"""Real short trainings of a tiny model, each made so that one thing goes wrong, and what the run does about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import FrameworkError
from framework.api import records
from framework.api.protocols import TrainRun
from framework.api.records import Report, Step, StepControl, TrainResult
from framework.api.schema import Action, HealthConfig
from framework.run import pipeline
from framework_plugins.monitor.recommendations import RECOMMENDATIONS
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened

Run = Callable[..., TrainResult]
FULL = ("adapter=full", "schedule=constant_with_warmup", "trainer.warmup_steps=0")
DIVERGES = (*FULL, "trainer.learning_rate=1.0", "trainer.weight_decay=1e15", "trainer.max_steps=8")
"""Each step multiplies the weights: after a few they are beyond what 32 bits can hold."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Run:
    """Return a function that trains on rows and gives the result."""

    def made(rows: list[dict[str, str]], *words: str) -> TrainResult:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        always = ("stages=[data,train]", "logger=[jsonl]", "audit=[]", "trainer.gradient_accumulation_steps=1")
        pipeline.run(make(base, file, tmp_path / "run", *always, *words))
        return records.load(TrainResult, tmp_path / "run" / "train.json")

    return made


def told(trained: TrainResult) -> list[str]:
    return [issue.kind for issue in trained.issues]


def steps(tmp_path: Path) -> list[dict[str, Any]]:
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "step"]


def test_a_rate_that_destroys_the_weights_ends_the_run_within_a_step_and_saves_nothing(
    run: Run, tmp_path: Path
) -> None:
    with pytest.raises(FrameworkError, match=r"nan: the loss is (nan|inf); the training stops, and no earlier weights"):
        run(chat_rows(40), *DIVERGES)
    losses = [step["loss"] for step in steps(tmp_path)]
    assert len(losses) < 8
    assert [loss for loss in losses if loss != loss or loss == float("inf")] == losses[-1:]  # noqa: PLR0124 - nan
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"checkpoint", "checkpoint.part", ".trainer.part", "train.json"}


def test_where_there_was_a_validation_before_its_weights_are_what_is_left(run: Run, tmp_path: Path) -> None:
    trained = run(chat_rows(40), *DIVERGES, "trainer.eval_steps=1")
    assert told(trained)[-1] == "nan"
    assert trained.best_step is not None
    assert trained.best_step < trained.steps < 8
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()


def test_answers_that_never_stop_are_reported_with_those_of_the_base(run: Run, tmp_path: Path) -> None:
    stages = "stages=[data,baseline,train,evaluate,report]"
    more = ["evaluator=[prompts]", "data.validation_split=0.4", "format=alpaca"]
    run(chat_rows(20), stages, *more, "trainer.max_steps=2", "evaluator.prompts.max_new_tokens=40")
    report = records.load(Report, tmp_path / "run" / "report.json")
    assert report.train is not None
    (issue,) = [found for found in report.train.issues if found.kind == "truncated_answers"]
    assert re.fullmatch(r"(\d+) of 8 answers did not end by themselves, and \d+ of 8 of the base model", issue.text)
    assert "train for more steps" in issue.recommendation


def test_a_lower_rate_holds_from_the_next_step_on(run: Run, tmp_path: Path) -> None:
    words = ["trainer.learning_rate=1e-6", "trainer.warmup_steps=0", "trainer.max_steps=60", "health.plateau=lower"]
    (issue,) = run(chat_rows(60), *words, "health.lower_to=0.25").issues
    assert (issue.step, issue.action) == (40, Action.lower)
    rates = {step["step"]: step["learning_rate"] for step in steps(tmp_path)}
    planned = {step: 1e-6 * (60 - step + 1) / 60 for step in rates}  # linear, to the end
    assert rates == pytest.approx({step: rate * (0.25 if step > 40 else 1) for step, rate in planned.items()})


def test_a_stop_is_obeyed_within_the_step(run: Run, tmp_path: Path) -> None:
    words = ["trainer.learning_rate=1e-7", "trainer.max_steps=60", "health.plateau=stop"]
    trained = run(chat_rows(60), *words)
    assert trained.steps == trained.issues[0].step == steps(tmp_path)[-1]["step"] == 40
    assert trained.stopped == f"step 40, plateau: {trained.issues[0].text}"


def at_three(order: StepControl, step: Step) -> StepControl | None:
    return order if step.step == 3 else None


@pytest.mark.parametrize("kind", ["adapter=lora", "adapter=full"])
def test_weights_that_were_set_aside_are_put_back_bit_for_bit(base: Path, tmp_path: Path, kind: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(20)), encoding="utf-8")
    made = []
    for name, order in (("kept", StepControl(keep=True)), ("stopped", StepControl(stop="enough"))):
        plan = make(base, rows, tmp_path / name, kind, "trainer.max_steps=6")
        with opened(plan) as (model, data):
            run = TrainRun(tmp_path / name / "c", tmp_path / name / "s", partial(at_three, order))
            model.train(data.train, data.validation, run)
            made.append({key: weight.detach().clone() for key, weight in model.model.named_parameters()})
    assert all(torch.equal(weight, made[1][key]) for key, weight in made[0].items())
    assert not (tmp_path / "kept" / "s").exists()


def test_validations_and_questions_change_nothing_in_the_training(run: Run, tmp_path: Path) -> None:
    """With dropout: a random number drawn in between would change every loss that follows."""
    found: list[list[float]] = []
    asking = ("trainer.early_stopping_metric=exact_match", "metric=[exact_match]", "evaluator=[prompts]")
    for words in (("trainer.eval_steps=null",), ("trainer.eval_steps=1", *asking)):
        silent = (
            [f"health.{kind}=ignore" for kind in RECOMMENDATIONS if hasattr(HealthConfig, kind)] if not found else []
        )
        run(chat_rows(40), *silent, "trainer.max_steps=6", "adapter.lora_dropout=0.3", *words)
        found.append([step["loss"] for step in steps(tmp_path)])
        (tmp_path / "run" / "log.jsonl").unlink()
    assert found[0] == found[1]
