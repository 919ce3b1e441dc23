"""unsloth/questions.py: what is wrong with a trainer is found out, with `trainer=hf` and a tiny twin.

`test_process.py` asks Unsloth the same.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import LlamaConfig

from framework.api.plan import Plan
from framework.api.records import TokenRow
from framework.config.compose import compose
from framework.plan.make import make_plan
from framework_plugins.hf.evaluation import Evaluation
from framework_plugins.unsloth import questions
from framework_plugins.unsloth.tried import Tried
from tests.plugins.unsloth import wrong

LLAMA: dict[str, Any] = LlamaConfig(attention_dropout=0.1).to_dict()
TWO = ("launch=ddp", "launch.processes=2", "trainer.device=cpu")


def told(*words: str, config: dict[str, Any] = LLAMA) -> str:
    plan = make_plan(compose(["trainer=hf", "trainer.dtype=fp32", "logger=[]", *words]))
    choices = {name: getattr(plan, name) for name in ("trainer", "adapter", "quantization", "launch")}
    return questions.problem(config, **choices)


def test_nothing_is_wrong_with_one_that_is_right_also_where_a_model_and_its_adapter_drop() -> None:
    assert told("adapter.lora_dropout=0.1") == ""


@pytest.mark.parametrize("fault", [wrong.SCALING, wrong.DIRECTION])
def test_a_step_that_depends_on_how_it_is_cut_is_found_out(fault: wrong.Fault) -> None:
    with fault.made():
        assert told().startswith(fault.told)


def test_another_loss_in_evaluation_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Evaluation.loss
    monkeypatch.setattr(Evaluation, "loss", lambda self, rows: plain(self, rows) * 1.1)
    assert told().startswith("its loss in evaluation is ")


def test_what_it_raises_is_the_problem_without_its_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told("adapter.target_modules=[nowhere]").startswith("adapter.target_modules: unknown layer 'nowhere'")

    def fail(*_: Any, **__: Any) -> None:
        message = "no room\nfor it"
        raise RuntimeError(message)

    monkeypatch.setattr(transformers.Trainer, "training_step", fail)
    assert told() == "RuntimeError: no room"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("it is broken: set trainer=hf, or quantization=none", "it is broken"),
        ("on a CPU it has no other. Set launch=ddp", "on a CPU it has no other"),
        ("its set of rows is empty", "its set of rows is empty"),
    ],
)
def test_advice_is_cut_off(said: str, reason: str) -> None:
    assert questions.ADVICE.sub("", said) == reason


def test_an_architecture_of_which_no_twin_can_be_made_is_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert told(config={"model_type": "nothing-known"}) == ""
    assert "no twin: " in caplog.text


def test_another_step_of_two_processes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where several GPUs are visible, the step of one process is made on the first, as that of a group's driver is."""
    asked: list[Plan] = []

    def step_together(plan: Plan, rows: list[TokenRow], place: Path, name: str) -> Tried:
        asked.append(plan)
        assert place.is_dir()
        return Tried(name, float(len(rows)), 1.0, {})

    monkeypatch.setattr(questions, "step_together", step_together)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = told("launch=ddp", "launch.processes=4")
    assert re.match(
        r"launch=ddp is wrong: 8x1 has the loss \d\.\d+, 4x1 in two processes of the same rows 8.0000$", found
    )
    (plan,) = asked
    group = plan.launch.config.group()
    assert (group.processes, plan.batch) == (2, 8)


@pytest.mark.slow
def test_two_processes_make_the_step_of_one() -> None:
    assert told(*TWO) == ""


@pytest.mark.slow
def test_two_processes_of_an_engine_that_does_not_come_up_are_told_by_what_they_say() -> None:
    said = "launch=fsdp2: accelerate brought up MULTI_CPU instead: on a CPU it has no other"
    assert told("launch=fsdp2", *TWO[1:]) == said
