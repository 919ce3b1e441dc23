"""framework/plan/forecast.py, the advice, and what `trainer=hf` adds: rules of thumb, each only where it applies."""

from pathlib import Path

import pytest

from framework.api.records import Work
from framework.hooks.session import current
from framework.plan.forecast import Planner
from framework.plan.make import make_plan
from framework.testing import compose
from tests.support.shelf import Shelf


def told(folder: Path, *words: str, work: Work | None = None) -> list[str]:
    plan = make_plan(compose(["model=llama1b", "data=local_file", "data.path=x.jsonl", *words]), run_dir=folder)
    return Planner(plan, Shelf({}), current()).advice(work)


def work(*, rows: int = 1000, steps: int = 375, epochs: float = 2.0) -> Work:
    return Work(rows, 100 * rows, 50 * rows, steps, epochs, 1e15, None, None)


def test_a_sound_plan_gets_no_advice(tmp_path: Path) -> None:
    assert told(tmp_path, work=work()) == []


@pytest.mark.parametrize(
    ("words", "some", "begins"),
    [
        (["data.validation_split=0"], None, "data.validation_split=0 holds out no rows"),
        ([], work(rows=50_000, epochs=3.0), "3 epochs over 50,000 rows"),
        (
            ["trainer.warmup_steps=1", "evaluator=[]"],
            work(rows=100, steps=13, epochs=1.0),
            "1 epoch over 100 rows are 13 steps",
        ),
        (
            ["evaluator=[prompts]", "evaluator.prompts.count=290", "trainer.warmup_steps=1"],
            work(rows=300, steps=75),
            "evaluator.prompts.count=290: up to 74,240 tokens",
        ),
        (["trainer.warmup_steps=100"], work(), "trainer.warmup_steps=100 of 375 steps"),
        (["trainer.warmup_steps=400"], work(), "trainer.warmup_steps=400 of 375 steps: the training ends before"),
        (
            [
                "schedule=warmup_stable_decay",
                "trainer.warmup_steps=5",
                "schedule.num_decay_steps=500",
            ],
            work(),
            "schedule.num_decay_steps=500 of 375 steps, after 5 steps of warm-up: the rate falls",
        ),
        (["adapter=full"], None, "trainer.learning_rate=0.0002 with adapter=full"),
        (["trainer.learning_rate=0.01"], None, "trainer.learning_rate=0.01 with adapter=lora: above 0.001"),
        (["trainer.learning_rate=1e-5"], None, "trainer.learning_rate=1e-05 with adapter=lora"),
        (["adapter.r=64", "adapter.lora_alpha=16"], None, "adapter.lora_alpha=16 with adapter.r=64"),
    ],
)
def test_each_rule_says_what_is_wrong_and_what_to_set(
    tmp_path: Path, words: list[str], some: Work | None, begins: str
) -> None:
    (sentence,) = told(tmp_path, *words, work=some)
    assert sentence.startswith(begins)
    assert "Set " in sentence or "take " in sentence


@pytest.mark.parametrize(
    "words",
    [
        ["data.validation_path=held.jsonl"],
        ["data.validation_sets={orders: held.jsonl}"],
        ["data=hub", "data.path=owner/name", "data.validation_split_name=test"],
    ],
)
def test_held_out_rows_that_a_setting_names_need_no_share(tmp_path: Path, words: list[str]) -> None:
    assert told(tmp_path, *words, "data.validation_split=0") == []


def test_a_plan_alone_gets_the_advice_of_the_whole_run(tmp_path: Path) -> None:
    words = "data.validation_split=0", "trainer.warmup_steps=100"
    (first, second) = told(tmp_path, *words, "stages=[plan]", work=work())
    assert [first, second] == told(tmp_path, *words, work=work())


def test_a_run_that_does_not_train_gets_no_advice_on_training(tmp_path: Path) -> None:
    assert told(tmp_path, "data.validation_split=0", "stages=[data]") == []
