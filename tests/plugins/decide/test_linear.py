"""decide/linear.py: a linear model learns words, and says nothing of what it cannot compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from framework.api.records import Message, Prompt
from framework_plugins.decide import linear

NAMES = ("late", "broken", "lost")


def prompts(count: int, options: tuple[str, ...] = NAMES) -> list[Prompt]:
    words = ("yesterday waited", "crack glass", "nowhere gone")
    return [
        Prompt((Message("user", f"Which?\n- late\nparcel {n} {words[n % 2]}"),), options[n % 2], options=options)
        for n in range(count)
    ]


def test_words_are_learned_and_an_option_without_rows_is_not_impossible() -> None:
    asked = prompts(6)
    scores = linear.linear_scores(prompts(60), asked)
    assert scores is not None
    assert scores.argmax(1).tolist() == [0, 1] * 3
    assert np.exp(scores).sum(1) == pytest.approx(1)
    assert np.exp(scores[:, 2]) == pytest.approx(1 / 3 / 61)


@pytest.mark.parametrize(
    "train",
    [
        prompts(linear.LEAST - 1),
        [*prompts(60), *prompts(1, NAMES[:2])],
        [replace(prompt, reference="late") for prompt in prompts(60)],
        [replace(prompt, messages=(Message("user", "? !"),)) for prompt in prompts(60)],
    ],
    ids=["few rows", "other options", "one label", "no words"],
)
def test_what_cannot_be_compared_has_no_scores(train: list[Prompt]) -> None:
    assert linear.linear_scores(train, prompts(6)) is None


def test_without_scikit_learn_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "is_installed", lambda: False)
    assert linear.linear_scores(prompts(60), prompts(6)) is None
