"""What the training loss shows, on curves that are made to show it, and on ordinary ones that show nothing."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_plugins.monitor.losses import deviation, ranks, spread, trimmed, without_trend
from tests.support.curves import entries, falling, kinds, ordinary, seen
from tests.support.examples import examples

STEADY = [f"health.{kind}=ignore" for kind in ("plateau", "rising_loss", "oscillation", "exploding_gradient")]


ALONE = [f"health.{kind}=ignore" for kind in ("spike", "rising_loss", "oscillation", "exploding_gradient")]


def waves(count: int, *, level: float = 1.0, swing: float = 0.6, period: int = 8, noise: float = 0.1) -> list[float]:
    draw = random.Random(0)  # noqa: S311 - noise
    return [
        level * math.exp(swing * math.sin(2 * math.pi * n / period) + noise * draw.gauss(0, 1)) for n in range(count)
    ]


def cycled(length: int, *levels: float) -> list[float]:
    """Return 200 factors: rows of several sources that take turns."""
    return [levels[n // length % len(levels)] for n in range(200)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.05, 0.2, 0.35])
def test_one_batch_that_is_far_off_is_a_spike(noise: float, seed: int) -> None:
    losses = falling(100, noise=noise, seed=seed)
    losses[60] = 20.0
    assert kinds(entries(losses)) == [(61, "spike")]


def test_a_spike_is_reported_with_what_was_before() -> None:
    (issue,) = seen(entries([*[0.4, 0.41] * 15, 6.3, 0.4]), *STEADY)
    assert issue.text == "the loss jumped to 6.3 from about 0.405"
    assert issue.line.startswith("step 31, spike: the loss jumped to 6.3 from about 0.405. Look at the rows of")


@pytest.mark.parametrize(
    "losses",
    [
        [*[0.4] * 7, 6.3],  # too few before it
        [*[0.4] * 30, 2.4, *[0.4] * 10],  # a hard row
        [*[0.4] * 30, 2.4, 2.6, *[0.4] * 10],  # two of them
        [*[0.4] * 30, 0.6],  # half as high again, but nothing
        [*[0.01] * 30, 0.4],  # of memorized answers
        [*[0.4, 3.0] * 15, 3.3],  # there are such batches
    ],
)
def test_what_is_no_spike(losses: list[float]) -> None:
    assert kinds(entries(losses), *STEADY) == []


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_a_loss_that_rises_and_stays_high_is_reported(noise: float) -> None:
    losses = falling(60, noise=noise) + [3.0 * part for part in falling(60, start=1.0, end=1.0, noise=noise, seed=1)]
    found = kinds(entries(losses), "health.spike=ignore")
    assert [kind for _, kind in found][:1] == ["rising_loss"]
    assert 60 < found[0][0] <= 85


def test_three_high_losses_in_a_row_are_a_spike_within_the_first_entries_too() -> None:
    losses = [*falling(10, noise=0.1), *[9.0] * 3]
    assert kinds(entries(losses)) == [(13, "spike")]


def test_a_loss_that_rises_from_the_first_steps_on_is_reported_before_the_twentieth() -> None:
    losses = [2.5 + 0.27 * number + 0.1 * (-1) ** number for number in range(18)]
    ((step, kind), *_) = kinds(entries(losses), "health.spike=ignore")
    assert kind == "rising_loss"
    assert step <= 12


def test_a_training_that_goes_wrong_at_once_is_reported_when_it_has_ten_entries_or_a_few_more() -> None:
    losses = [0.46, 0.46, 0.5, 0.9, 3.0, 7.4, *(10 * part for part in falling(60, start=1.0, end=1.0, noise=0.3))]
    ((step, kind), *_) = kinds(entries(losses), "health.spike=ignore")
    assert kind == "rising_loss"
    assert 10 <= step <= 30


@pytest.mark.parametrize(("swing", "period"), [(0.6, 8), (0.5, 10), (0.9, 15)])
def test_waves_that_do_not_fall_are_an_oscillation(swing: float, period: int) -> None:
    ((step, kind), *_) = kinds(entries(waves(100, swing=swing, period=period)), "health.spike=ignore")
    assert kind == "oscillation"
    assert 45 <= step <= 85


def test_jumps_from_a_floor_are_an_oscillation_even_if_the_floor_falls() -> None:
    losses = [part * (2 if n % 20 < 6 else 1) for n, part in enumerate(falling(150, start=1.6, end=1.2))]
    ((step, kind), *_) = kinds(entries(losses), "health.spike=ignore")
    assert kind == "oscillation"
    assert step <= 135


@pytest.mark.parametrize(
    "losses",
    [
        [wave * part for wave, part in zip(waves(100), falling(100, end=0.2, noise=0.0), strict=True)][:50],
        [0.05 * wave for wave in waves(100)],
        [1 + 0.05 * math.sin(n) for n in range(100)],
        [2.0 + (-1) ** n for n in range(100)],
        [level * part for level, part in zip(cycled(10, 1.0, 1.5, 0.6), falling(200, noise=0.1), strict=True)],
        [level * part for level, part in zip(cycled(100, 1.0, 1.5), falling(200, noise=0.1), strict=True)],
    ],
    ids=["they fall", "they are low", "they are flat", "two batches make an epoch", "three sources", "harder rows"],
)
def test_what_is_no_oscillation(losses: list[float]) -> None:
    assert "oscillation" not in {kind for _, kind in kinds(entries(losses))}


def test_the_warm_up_does_not_count_as_oscillation() -> None:
    assert kinds(entries(waves(60)), "trainer.warmup_steps=60", "health.spike=ignore") == []


@pytest.mark.parametrize(("noise", "count"), [(0.0, 200), (0.01, 200), (0.05, 800)])
def test_a_loss_that_stands_where_it_began_is_a_plateau(noise: float, count: int) -> None:
    found = kinds(entries(falling(count, start=2.0, end=2.0, noise=noise)))
    assert [kind for _, kind in found] == ["plateau"]
    assert 40 <= found[0][0] <= (135 if noise < 0.05 else 800)


@pytest.mark.parametrize(
    ("start", "end", "count"), [(2.0, 1.8, 100), (2.0, 0.5, 400), (1.2, 1.0, 1000), (0.02, 0.02, 200)]
)
def test_a_loss_that_fell_or_is_low_is_no_plateau(start: float, end: float, count: int) -> None:
    assert kinds(entries(falling(count, start=start, end=end, noise=0.05))) == []


def test_a_loss_that_rises_slowly_is_no_plateau() -> None:
    for seed in range(60):
        noise = falling(200, start=1.0, end=1.0, noise=0.15, seed=seed)
        rising = [1.5 * (1 + n / 200) * part for n, part in enumerate(noise)]
        assert "plateau" not in {kind for _, kind in kinds(entries(rising), *ALONE)}


@pytest.mark.parametrize("before", [1, 3, 20])
def test_a_loss_that_rose_above_its_first_entries_is_no_plateau(before: int) -> None:
    losses = falling(before, start=2.5, end=2.5, noise=0.05) + falling(150, start=7.5, end=7.5, noise=0.01)
    found = kinds(entries(losses), "health.spike=ignore")
    assert "plateau" not in {kind for _, kind in found}
    if before > 1:  # one low loss may be an easy batch
        assert before < found[0][0] <= before + 20


@pytest.mark.parametrize(
    ("loss", "norm", "told"),
    [
        (1.0, 0.0, "all gradients were 0 in 10 log entries in a row"),
        (1e-6, 1.0, "the loss was below 1e-05 in 10 log entries in a row"),
    ],
)
def test_a_training_that_changes_nothing_is_a_plateau_after_ten_entries(loss: float, norm: float, told: str) -> None:
    (issue,) = seen(entries([loss] * 39, [norm] * 39))
    assert (issue.step, issue.kind, issue.text) == (10, "plateau", told)
    assert "trainer.learning_rate" not in issue.recommendation


def test_a_plateau_waits_for_the_warm_up_and_for_a_pace_that_leads_nowhere() -> None:
    flat = falling(200, start=2.0, end=2.0, noise=0.0)
    assert kinds(entries(flat), "trainer.warmup_steps=50") == [(135, "plateau")]
    slow = [2.0 - 0.0005 * n for n in range(100)]  # 2.5% in a hundred steps of two thousand
    assert kinds(entries(slow, total=2000)) == []
    assert kinds(entries(slow)) == [(40, "plateau")]


def test_of_ordinary_trainings_next_to_none_is_called_anything() -> None:
    draw = random.Random(1)  # noqa: S311 - noise
    troubled = [found for found in (kinds(ordinary(draw)) for _ in range(400)) if found]
    assert len(troubled) <= 8, troubled


@settings(derandomize=True, max_examples=examples(60))
@given(st.integers(30, 300), st.floats(0.3, 5), st.floats(0.05, 0.85), st.floats(0, 0.25), st.integers(0, 1000))
def test_a_loss_that_falls_is_healthy(count: int, start: float, share: float, noise: float, seed: int) -> None:
    assert kinds(entries(falling(count, start=start, end=share * start, noise=noise, seed=seed))) == []


def test_the_statistics_are_what_they_are_called() -> None:
    draw = random.Random(3)  # noqa: S311 - noise
    values = [draw.gauss(5, 2) for _ in range(4001)]
    assert spread(values) == pytest.approx(2, rel=0.05)
    assert deviation(values) == pytest.approx(2, rel=0.05)
    assert spread([1, 2, 3, 1000]) < 2
    assert trimmed([1000, 1, 2, 3, -1000]) == pytest.approx(2)
    assert ranks([3.0, 1.0, 2.0]) == [2, 0, 1]
    assert without_trend([1, 3, 5, 7]) == pytest.approx([0, 0, 0, 0])
    assert without_trend([1, 2, 1]) == pytest.approx([-1 / 3, 2 / 3, -1 / 3])
