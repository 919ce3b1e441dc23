"""The way of `trainer=unsloth` on a GPU, by the code that Unsloth has for one: `on_a_gpu.py` runs it on this CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework_plugins.hf.backend import HFBackend
from tests.plugins.unsloth.runs import CASES, rows, run, tiny
from tests.support.program import environment
from tests.support.tiny import tiny_chatml

pytestmark = pytest.mark.unsloth
ROOT = Path(__file__).parents[3]
PADDING_FREE_MODELS = "one row after another, not tree: Unsloth's attention ignores masks in training"
CARD = {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1"}
CLOSE = {"fp32": 1e-5, "bf16": 1e-2}
"""How far losses may differ, as a share."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


@pytest.fixture(scope="module")
def found(place: Path) -> list[dict[str, Any]]:
    """What `on_a_gpu.py` found: of each model, with and without xformers, packed and padded; and of checkpointing."""
    command = [sys.executable, "-m", "tests.plugins.unsloth.on_a_gpu", str(place)]
    env = environment(place, FRAMEWORK_CACHE=str(place / "cache"), **CARD)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture
def cases(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert tuple((case["model"], case["xformers"], case["asked"], case["dtype"]) for case in found[:-1]) == CASES
    assert {case["dtype"] for case in found[:-1] if case["fused"]} == {"bf16"}
    assert all(case["biases"] for case in found[:-1] if case["xformers"])
    return found[:-1]


def test_a_step_is_that_of_plain_transformers_and_peft(cases: list[dict[str, Any]]) -> None:
    """Losses in training and evaluation, the gradient of every weight, and answers to prompts that share a prefix."""
    assert [case["problem"] for case in cases] == [""] * len(cases)


def test_a_token_changes_nothing_before_it_and_nothing_of_other_rows_in_training_mode(
    cases: list[dict[str, Any]],
) -> None:
    assert {case[name] for case in cases for name in ("earlier", "other", "loss")} == {0.0}
    assert min(case["later"] for case in cases) > 0.1


def test_rows_stand_one_behind_another_unless_padding_is_asked_for(cases: list[dict[str, Any]]) -> None:
    assert {case["packing"] for case in cases if case["asked"] == "tree"} == {PADDING_FREE_MODELS}
    assert {case["packing"] for case in cases if case["asked"] == "pad"} == {"pad"}


def test_no_beginnings_are_shared_through_its_caches(cases: list[dict[str, Any]]) -> None:
    assert {case["shared"] for case in cases} == {False}


def test_the_weights_are_used_as_transformers_uses_them(cases: list[dict[str, Any]], place: Path) -> None:
    """Also where trainer.max_seq_length is above the positions of the model: they are not stretched."""
    for model in {case["model"] for case in cases}:
        words = ["trainer=hf", "trainer.device=cpu", "trainer.dtype=fp32", "model=local", f"model.path={place / model}"]
        plan = testing.plan(words, run_dir=place / "plain")
        with HFBackend(plan.trainer.config).open(plan) as plain:
            expected = plain.loss(rows())
        losses = {case["evaluated"]: case["dtype"] for case in cases if case["model"] == model}
        assert all(loss == pytest.approx(expected, rel=CLOSE[dtype]) for loss, dtype in losses.items()), losses


def test_activations_are_computed_again_after_a_validation_that_answers(found: list[dict[str, Any]]) -> None:
    assert found[-1] == {"answering": [False], "after": True}


def test_a_whole_run_goes_the_same_way(data_file: Path, tmp_path: Path) -> None:
    words = (*tiny(tiny_chatml(tmp_path / "base"), data_file), "trainer.device=cpu", "trainer.dtype=fp32")
    plugin = f"plugins=[{Path(__file__).with_name('standins.py')}]"
    done = run(tmp_path, plugin, *words, "trainer=unsloth", FRAMEWORK_CACHE=str(tmp_path / "cache"), **CARD)
    assert done.code == 0, done.err
    assert done.report["hardware"]["packing"] == PADDING_FREE_MODELS
    assert list((tmp_path / "cache" / "unsloth").glob("compared-*.json"))
    loss = done.report["metrics"]["eval_loss"]
    assert loss["after"] < loss["before"]
