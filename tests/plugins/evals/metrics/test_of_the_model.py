"""perplexity, length and stopped look at more than the text."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import testing
from framework.api import records, scoring
from framework.api.records import Answered, EvalResult, Scores
from framework.run import pipeline
from framework_plugins.evals.config import Aim, LengthConfig, PerplexityConfig, StoppedConfig
from framework_plugins.evals.metrics.length import Length
from framework_plugins.evals.metrics.perplexity import Perplexity
from framework_plugins.evals.metrics.stopped import Stopped
from tests.support.tiny import tiny_chatml

LOG_PROBS = st.lists(st.floats(-20, 0), max_size=6).map(tuple)


def known(log_probs: tuple[float, ...] | None, tokens: int = 3, *, stopped: bool = True) -> Answered:
    return Answered("Say it", "no", "yes", tokens, stopped, log_probs)


@given(st.lists(LOG_PROBS, min_size=1, max_size=5))
def test_the_perplexity_is_that_of_all_tokens_together(parts: list[tuple[float, ...]]) -> None:
    measures, _ = scoring.measure({"perplexity": Perplexity(PerplexityConfig())}, [known(part) for part in parts])
    tokens = [log_prob for part in parts for log_prob in part]
    if tokens:
        assert measures["perplexity"].value == pytest.approx(math.exp(-sum(tokens) / len(tokens)))
    else:
        assert measures == {}


def test_even_chances_among_words_are_a_perplexity_of_so_many() -> None:
    metric = Perplexity(PerplexityConfig())
    measures, _ = scoring.measure({"p": metric}, [known((-math.log(8),) * 2), known((-math.log(8),))])
    assert measures["p"].value == pytest.approx(8)
    assert not measures["p"].higher_is_better
    assert measures["p"].weights == [2.0, 1.0]


def test_lengths_are_in_tokens_and_either_way_may_be_up() -> None:
    metric = Length(LengthConfig())
    assert metric.score_all([known(None, 5), known(None, 0)]) == Scores([5.0, 0.0])
    assert [Length(LengthConfig(aim)).higher_is_better for aim in Aim] == [False, True]


def test_an_answer_stopped_or_was_cut_off() -> None:
    answers = [known(None), known(None, stopped=False)]
    assert Stopped(StoppedConfig()).score_all(answers) == Scores([1.0, 0.0])


def test_the_perplexity_of_the_answers_is_that_of_their_loss(
    tmp_path: Path, rows: list[dict[str, str]], write_rows: Callable[..., Path]
) -> None:
    """On a real model, asked the rows that it is validated on: the loss and the metric see the same tokens."""
    file = write_rows(rows[:6])
    data = ["data=local_file", f"data.path={write_rows(rows)}", f"data.validation_path={file}"]
    words = [*data, "model=local", f"model.path={tiny_chatml(tmp_path / 'base')}", "trainer=hf", "trainer.dtype=fp32"]
    settings = ["metric=[perplexity]", "evaluator.prompts.max_new_tokens=2", "stages=[baseline]", "logger=[]"]
    plan = testing.plan([*words, *settings], run_dir=tmp_path / "run")
    pipeline.run(plan)
    result = records.load(EvalResult, plan.run_dir / "baseline.json")
    assert result.metrics["perplexity"] == pytest.approx(math.exp(result.metrics["eval_loss"]), rel=1e-4)
    assert result.measures["perplexity"].items == pytest.approx(
        [item for item in _by_reference(result, rows) if item is not None], rel=1e-4
    )


def _by_reference(result: EvalResult, rows: list[dict[str, str]]) -> list[float | None]:
    """Return the losses of the rows in the order in which the prompts were asked."""
    places = [int(row["output"].rpartition(" ")[2]) for row in rows]
    losses = dict(zip(places, result.measures["eval_loss"].items, strict=False))
    return [losses[int((sample.reference or "").rpartition(" ")[2])] for sample in result.samples]
