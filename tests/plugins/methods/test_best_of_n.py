"""Best of n on real weights: the best answers are learned, and the control leaves the weights of the run alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from framework.api.protocols import Feature, Launcher
from framework.api.records import Example, Message
from framework.testing import MethodSuite
from tests.support import copies
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened, train

ASKED, ANSWERED = Message("user", "Why?"), Message("assistant", "So.")


class TestBestOfN(MethodSuite):
    """The method keeps what every method keeps."""

    option = "best_of_n"
    overrides = ("reward=[exact_match]",)
    examples: ClassVar = [Example((ASKED, ANSWERED), "chatml", "row 1"), Example((ASKED,), "chatml", "row 2")]
    refused: ClassVar = [(Example((Message("system", "Be brief."),), "chatml"), "asks nothing")]


@pytest.mark.slow
def test_a_second_training_of_a_model_begins_where_the_first_did(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"instruction": f"Say {n}", "output": f"{n}"}) + "\n" for n in range(8)))
    plan = make(tiny_llama(tmp_path / "model"), rows, tmp_path / "run", "data.validation_split=0", "audit=[]")
    with opened(plan) as (model, data):
        assert Feature.second_training in model.features
        first, _ = train(model, data, tmp_path / "first")
        model.forget_checkpoints()
        model.start_over()
        second, _ = train(model, data, tmp_path / "second")
        assert first.train_loss == second.train_loss
        model.start_over()
        model.restore(tmp_path / "first" / "checkpoint")


@pytest.mark.slow
@pytest.mark.parametrize("group", [(), ("launch=ddp", "launch.processes=2", "trainer.device=cpu")])
def test_a_run_draws_answers_and_trains_a_control_beside_it(tmp_path: Path, group: tuple[str, ...]) -> None:
    """One process draws and scores; with a group both trainings are made by it."""
    torch.manual_seed(1)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"instruction": f"Say {n}"}) + "\n" for n in range(6)))
    plan = make(
        tiny_llama(tmp_path / "model"), rows, tmp_path / "run", "method=best_of_n", "method.num_generations=6",
        "method.max_completion_length=100", "reward=[length]", "metric=[length]", "data.prompts_path=" + str(rows),
        "data.validation_split=0", "audit=[]", "evaluator=[prompts]", "evaluator.prompts.max_new_tokens=12",
        *group,
    )  # fmt: skip
    launcher: Launcher = plan.launch.create()
    with copies.groups(tmp_path):
        report = launcher.launch(plan)
    assert report is not None
    known = json.loads((tmp_path / "run" / "answers.json").read_text(encoding="utf-8"))["prompts"]
    assert any(one["chosen"] is not None for one in known)
    assert "length_vs_random" in report.metrics
