"""What is not a number, and gradients that grow out of bounds."""

from __future__ import annotations

import math
import random

import pytest

from tests.support.curves import entries, falling, kinds, seen

LOSSES = falling(60)


def noisy(count: int, *, level: float = 1.0, noise: float = 0.5, seed: int = 0) -> list[float]:
    draw = random.Random(seed)  # noqa: S311 - noise
    return [level * math.exp(noise * draw.gauss(0, 1)) for _ in range(count)]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_reported_at_once_and_once(loss: float) -> None:
    (issue,) = seen(entries([1.0, loss, loss, loss]))
    assert (issue.step, issue.kind) == (2, "nan")
    assert issue.text == f"the loss is {loss}; the training stops"


def test_a_gradient_without_a_number_is_reported_when_it_does_not_pass() -> None:
    scaled = [math.inf] * 4 + [1.0] * 16 + [math.inf] * 9 + [1.0] * 5  # as the scale of fp16 falls
    assert kinds(entries(LOSSES[:34], scaled)) == []
    stuck = [1.0] * 4 + [math.nan] * 10 + [1.0] * 6
    assert kinds(entries(LOSSES[:20], stuck)) == [(14, "nan")]


@pytest.mark.parametrize("seed", range(3))
def test_norms_that_are_ten_times_what_they_were_explode(seed: int) -> None:
    norms = noisy(40, seed=seed) + noisy(20, level=30.0, seed=seed + 9)
    (issue, *_) = seen(entries(LOSSES, norms))
    assert issue.kind == "exploding_gradient"
    assert 41 < issue.step <= 46
    assert issue.text.startswith("the gradient norm is about ")


def test_norms_that_are_a_thousand_times_what_they_were_are_reported_after_five_from_the_eighth_entry_on() -> None:
    assert kinds(entries(LOSSES[:30], noisy(20) + [2000.0] * 10))[0] == (25, "exploding_gradient")
    assert kinds(entries(LOSSES[:30], noisy(8) + [2000.0] * 22))[0] == (13, "exploding_gradient")


@pytest.mark.parametrize(
    "norms",
    [
        [*noisy(40), 500.0, *noisy(19)],  # clipping is made for it
        noisy(40, level=0.01) + noisy(20, level=0.5),  # below what they are clipped to
        noisy(40) + noisy(20, level=3.0),
        noisy(60, noise=1.2),
        [*[1.0] * 9, *[50.0] * 3, *[1.0] * 48],  # too early to know
        [50.0 if number % 20 in {0, 3, 4, 6} else 1.0 for number in range(60)],
    ],
    ids=["one", "small", "little", "noise", "few", "a fifth of them"],
)
def test_what_is_no_explosion(norms: list[float]) -> None:
    assert kinds(entries(LOSSES, norms)) == []


def test_the_limit_is_what_gradients_are_clipped_to() -> None:
    norms = noisy(40) + noisy(20, level=30.0)
    assert kinds(entries(LOSSES, norms), "trainer.max_grad_norm=1000") == []
