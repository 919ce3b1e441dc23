"""perplexity, length and stopped look at more than the text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import scoring
from framework.records import Answered, Scores
from framework_evals.config import Aim, LengthConfig, PerplexityConfig, StoppedConfig
from framework_evals.metrics.length import Length
from framework_evals.metrics.perplexity import Perplexity
from framework_evals.metrics.stopped import Stopped

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
