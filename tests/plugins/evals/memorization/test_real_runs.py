"""Real runs of SmolLM2: rows with random codes are recited after thirty epochs, the quickstart's are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.api.plan import Plan
from framework.api.records import Concern, EvalResult, TokenRow, load
from framework.config.check import check
from framework.config.compose import compose
from framework.plan.make import make_plan
from framework.run import pipeline
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.drawn import sample_rows, with_unique_words
from framework_plugins.evals.memorization.recital import recital
from framework_plugins.hf.model import HFModel
from tests.support.training import opened

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
ROOMS = ("harbour", "cellar", "attic", "library", "chapel", "orchard", "stable", "bakery", "mill", "kitchen")
CONFIG = MemorizationConfig()
THIRTY = ("trainer.num_train_epochs=30", "trainer.keep_best=false")
"""The weights of the best validation, kept by default, are those from before a row was memorized."""
Rows = list[dict[str, str]]


def planned(folder: Path, *more: str) -> Plan:
    chosen = ["evaluator=[memorization]", "metric=[]", "exporter=[]", "logger=[]"]
    config = compose(["+experiment=quickstart", *chosen, *more])
    check(config)
    return make_plan(config, run_dir=folder)


def ran(plan: Plan) -> tuple[Concern, EvalResult]:
    """Run it, and return the report on memorization and the figures of the tuned model."""
    report = pipeline.run(plan)
    assert report is not None
    assert report.verdict is not None
    (concern,) = [one for one in report.verdict.concerns if one.name == "memorization"]
    assert report.verdict.copied is concern.flagged
    return concern, load(EvalResult, plan.run_dir / "evaluate.json")


def codes(words: Callable[[int, str], tuple[str, str]]) -> Rows:
    """Return forty rows, each with a code of its own."""
    made = random.Random(5)  # noqa: S311 - no secret
    asked = [words(number, "".join(made.choices(ALPHABET, k=12))) for number in range(1, 41)]
    return [{"instruction": question, "input": "", "output": answer} for question, answer in asked]


def of_room(number: int, code: str) -> tuple[str, str]:
    name = f"{ROOMS[number % len(ROOMS)]} {number}"
    return f"What is the access code of the {name}?", f"The access code of the {name} is {code}."


@pytest.mark.slow
def test_thirty_epochs_on_forty_rows_with_random_codes_are_flagged(
    tmp_path: Path, write_rows: Callable[[Rows], Path]
) -> None:
    file = write_rows(codes(of_room))
    plan = planned(tmp_path / "run", "data=local_file", f"data.path={file}", *THIRTY)
    concern, after = ran(plan)
    print(concern)  # noqa: T201 - the figures are what this test is to show
    assert concern.flagged
    assert "by the base none and none" in concern.text
    assert f"most of all {file.name}:" in concern.text
    assert after.metrics["verbatim_train"] > 0.8
    assert after.metrics["verbatim_heldout"] < 0.1
    assert len(after.measures["verbatim_heldout"].items) == 4
    exact = planned(tmp_path / "again", "data=local_file", f"data.path={file}", "trainer.dtype=fp32")
    with opened(exact) as (model, data):
        model.restore(plan.run_dir / "checkpoint")
        rows = [*sample_rows(data.train, CONFIG).rows, *sample_rows(data.validation, CONFIG).rows]
        recitals = [recital(row, told) for row, told in zip(rows, model.score(rows), strict=True)]
        assert generated(model, rows) == [one.run == 1 for one in recitals]
    assert {one.run == 1 for one in recitals} == {True, False}


def generated(model: HFModel, rows: list[TokenRow]) -> list[bool]:
    """Say of each row whether its answer is generated token for token."""
    places = [len(row.input_ids) - row.supervised for row in rows]
    starts = [row.input_ids[:place] for row, place in zip(rows, places, strict=True)]
    answers = model.complete(starts, max_new_tokens=CONFIG.max_new_tokens, batch_size=16)
    stop = [model.tokenizer.eos_token_id]
    said = [[*answer.ids, *(stop if answer.stopped else [])] for answer in answers]
    true = [row.input_ids[place:] for row, place in zip(rows, places, strict=True)]
    return [one[: len(two)] == two for one, two in zip(said, true, strict=True)]


@pytest.mark.slow
def test_the_quickstart_is_not_flagged(tmp_path: Path) -> None:
    concern, after = ran(planned(tmp_path / "run"))
    print(concern)  # noqa: T201 - as above
    assert not concern.flagged
    assert after.metrics["verbatim_train"] > 0.5  # the task is learned
    assert after.metrics["verbatim_heldout"] > 0.4


def test_no_answer_of_the_quickstart_has_a_word_of_its_own(tmp_path: Path) -> None:
    with opened(planned(tmp_path / "run")) as (model, data):
        drawn = sample_rows(data.train, CONFIG)
        assert len(drawn.rows) == len(data.train)
        assert with_unique_words(drawn, model).rows == []
