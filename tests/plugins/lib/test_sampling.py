"""lib/sampling.py: tokens are drawn as often as temperature and top_p have it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from framework_plugins.lib.sampling import make_sampler


def test_tokens_are_drawn_as_often_as_the_temperature_has_it() -> None:
    logits = np.array([1.0, 3.0, 2.0, -np.inf], np.float32)
    draw = make_sampler(2.0, 1.0, 0)
    counts = Counter(draw(logits) for _ in range(4000))
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert all(abs(counts[token] / 4000 - expected[token]) < 0.03 for token in range(4))
    assert make_sampler(0.0, 1.0, None)(logits) == 1


@pytest.mark.parametrize(("top_p", "drawn"), [(1.0, {0, 1, 2}), (0.9, {1, 2}), (0.5, {1}), (1e-9, {1})])
def test_top_p_leaves_the_likeliest_tokens(top_p: float, drawn: set[int]) -> None:
    draw = make_sampler(1.0, top_p, 0)
    assert {draw(np.log(np.array([0.09, 0.6, 0.31], np.float32))) for _ in range(300)} == drawn
