"""Kinds of trainings that are made up: ordinary ones, and ones that go wrong.

A training is its losses, its gradient norms, and its validation losses by step. `monitor_curves.jsonl` has real ones of
SmolLM2-135M, each with the settings that differ from those of the quickstart. The kinds in `HELD_OUT_ORDINARY` and
`HELD_OUT_SICK` were written down before the rules of `health` got their present form, and run after it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Random = np.random.Generator
Training = tuple[Floats, Floats, dict[int, float]]
Make = Callable[[Random], Training]
Sized = Callable[[Random, int], Training]
SIZES = (60, 200)
UP, DOWN, NEITHER = "up", "down", "neither"


@dataclass(frozen=True)
class Sick:
    """A training that goes wrong.

    Attributes:
        make: makes one.
        rate: which change of the learning rate may be recommended: up, down, or neither.
        starts: the step from which something is wrong; delays are counted from it.
    """

    make: Make
    rate: str = DOWN
    starts: int = 1


def fall(count: int, low: float, high: float, tau: float) -> Floats:
    return low + (high - low) * np.exp(-np.arange(count) / tau)


def usual(count: int) -> Floats:
    return fall(count, 0.8, 2.5, count / 5)


def rows(random: Random, count: int, noise: float = 0.15) -> Floats:
    """The noise of rows, as factors."""
    return np.exp(random.normal(0, noise, count))


def gradients(random: Random, count: int, scatter: float = 0.4) -> Floats:
    return np.exp(random.normal(0, scatter, count))


def training(random: Random, losses: Floats, evals: dict[int, float] | None = None) -> Training:
    return losses, gradients(random, len(losses)), evals or {}


def looks(count: int, times: int) -> range:
    every = max(1, count // times)
    return range(every, count + 1, every)


def ordinary(count: int, kind: str, noise: float = 0.15, scatter: float = 0.4) -> Make:
    """Return a maker of trainings of one ordinary kind."""

    def make(random: Random) -> Training:
        low, high = (1.5, 1.6) if kind == "good base" else (0.8, 2.5)
        level = fall(count, low, high, count / 5)
        scale = np.exp(random.normal(0, noise, count) - noise**2 / 2)
        if kind == "heavy tails":
            losses = np.maximum(1e-3, level * (1 + noise * random.standard_t(3, count)))
        elif kind == "two kinds of rows":
            losses = level * np.where(random.random(count) < 0.15, 3.0, 0.65) * scale
        elif kind == "hard rows":
            losses = level * np.where(random.random(count) < 0.02, 5.0, 0.92) * scale
        else:
            losses = level * scale
        evals = {
            at: float(fall(count, low * 1.05, high, count / 5)[at - 1] * np.exp(random.normal(0, 0.004)))
            for at in looks(count, 6)
        }
        return losses, gradients(random, count, scatter) * level**0.3, evals

    return make


def flat_validation(noise: float, times: int) -> Sized:
    def make(random: Random, count: int) -> Training:
        evals = {at: float(1.2 * np.exp(random.normal(0, noise))) for at in looks(count, times)}
        return training(random, usual(count) * rows(random, count), evals)

    return make


def large_gradients(share: float, times: float) -> Sized:
    """Return a maker of trainings in which some gradients are large, which clipping is made for."""

    def make(random: Random, count: int) -> Training:
        norms = gradients(random, count) * np.where(random.random(count) < share, times, 1)
        return usual(count) * rows(random, count), norms, {}

    return make


def stairs(random: Random, count: int) -> Training:
    epochs = np.arange(count) * 3 // count
    return training(random, np.array([1.6, 1.3, 1.0])[epochs] * rows(random, count, 0.12))


def ends_near_zero(noise: float) -> Sized:
    def make(random: Random, count: int) -> Training:
        return fall(count, 0.002, 2.0, count / 12) * rows(random, count, noise), gradients(random, count, 0.8), {}

    return make


def harder_half(times: float) -> Sized:
    def make(random: Random, count: int) -> Training:
        level = usual(count) * np.where(np.arange(count) < count // 2, 1, times)
        return training(random, level * rows(random, count, 0.12))

    return make


def blocks(length: int, *levels: float) -> Sized:
    """Return a maker of trainings on sources that take turns."""

    def make(random: Random, count: int) -> Training:
        level = np.array(levels)[np.arange(count) // length % len(levels)]
        return training(random, usual(count) * level * rows(random, count, 0.1))

    return make


def few_tokens(random: Random, count: int) -> Training:
    tokens = np.exp(random.normal(3, 1, count))
    return training(random, np.maximum(1e-3, usual(count) + random.normal(0, 1, count) * 1.2 / np.sqrt(tokens)))


def restarts(random: Random, count: int) -> Training:
    third = count // 3
    bump = 1 + 0.25 * np.exp(-(np.arange(count) % third) / 4) * (np.arange(count) >= third)
    return training(random, usual(count) * bump * rows(random, count, 0.1))


def long_warm_up(random: Random, count: int) -> Training:
    third = count // 3
    level = np.concatenate([np.full(third, 2.5), fall(count - third, 0.8, 2.5, count / 6)])
    return training(random, level * rows(random, count, 0.1))


def falls_little(random: Random, count: int) -> Training:
    return training(random, fall(count, 1.55, 1.6, count / 3) * rows(random, count, 0.03))


def sized(kinds: Mapping[str, Sized]) -> dict[str, Make]:
    """Return each kind in each length."""

    def at(make: Sized, count: int) -> Make:
        return lambda random: make(random, count)

    return {f"{name}, {count} steps": at(make, count) for name, make in kinds.items() for count in SIZES}


ORDINARY: Mapping[str, Make] = {
    f"{name}, {count} steps": ordinary(count, kind, noise, scatter)
    for count in (60, 200, 600)
    for name, kind, noise, scatter in (
        ("noise 0.1", "falls", 0.1, 0.4),
        ("noise 0.3", "falls", 0.3, 0.4),
        ("noise 0.7", "falls", 0.7, 0.4),
        ("heavy tails, t(3)", "heavy tails", 0.2, 0.4),
        ("batches of one row, two kinds of rows", "two kinds of rows", 0.15, 0.4),
        ("batches of one row, 2% hard rows", "hard rows", 0.15, 0.4),
        ("a good base, falls by 6%, noise 0.1", "good base", 0.1, 0.4),
        ("a good base, falls by 6%, noise 0.3", "good base", 0.3, 0.4),
        ("gradients with noise 0.9", "falls", 0.2, 0.9),
    )
} | sized(
    {
        "falls in stairs, at epochs": stairs,
        "ends near 0, noise 0.5": ends_near_zero(0.5),
        "ends near 0, noise 1": ends_near_zero(1.0),
        "rows not shuffled, second half 1.5 times as hard": harder_half(1.5),
        "three sources in blocks of ten steps": blocks(10, 1.0, 1.5, 0.6),
        "few learned tokens in some batches": few_tokens,
        "2% of the gradients 10 times as large": large_gradients(0.02, 10),
        "5% of the gradients 30 times as large": large_gradients(0.05, 30),
        "validation loss flat, noise 1%, 6 validations": flat_validation(0.01, 6),
        "validation loss flat, noise 3%, 12 validations": flat_validation(0.03, 12),
        "restarts of the learning rate": restarts,
        "a third is warm-up": long_warm_up,
        "falls by 3%, noise 0.03": falls_little,
    }
)
AMBIGUOUS: Mapping[str, Make] = sized({"rows not shuffled, second half 2.5 times as hard": harder_half(2.5)})
"""A report is right, if it asks about the rows: losses do not show whether weights or rows are the reason."""


def broken(kind: str, count: int = 150) -> Make:
    """Return a maker of trainings that go wrong."""

    def make(random: Random) -> Training:
        level = fall(count, 0.8, 2.5, 30)
        losses, norms = level * np.exp(random.normal(0, 0.15, count)), gradients(random, count)
        evals: dict[int, float] = {}
        if kind == "flat":
            losses = 2.5 * np.exp(random.normal(0, 0.15, count))
        elif kind == "rises from step 75 on":
            losses[75:] *= np.linspace(1, 2.2, count - 75)
        elif kind == "blows up in the first 15 steps":
            losses = np.concatenate([np.linspace(2.5, 7, 15), np.full(count - 15, 7.0)])
            losses = losses * np.exp(random.normal(0, 0.1, count))
        elif kind == "blows up, and is 18 steps long":
            losses, norms = np.linspace(2.5, 7, 18) * np.exp(random.normal(0, 0.1, 18)), norms[:18]
        elif kind == "blows up at step 10 to 9":
            losses[10:] = 9.0 * np.exp(random.normal(0, 0.05, count - 10))
        elif kind == "one loss of 20 at step 60":
            losses[60] = 20.0
        elif kind == "memorizes":
            evals = {at: float(1.2 + max(0, at - 40) * 0.004) for at in range(20, count + 1, 20)}
        elif kind == "gradients 1,000 times as large from step 75 on":
            norms[75:] *= 1000
        elif kind == "validation loss rises by 1% at each of 7 validations":
            evals = {at: float(1.2 * 1.01 ** (at // 20)) for at in range(20, count + 1, 20)}
        elif kind == "validation loss doubles, two validations":
            evals = {75: 1.2, 150: 2.4}
        elif kind == "NaN at step 50":
            losses[49:] = np.nan
        elif kind == "gradients are NaN from step 50 on":
            norms[49:] = np.nan
        elif kind == "gradients are 0":
            losses, norms = 2.5 * np.exp(random.normal(0, 0.15, count)), np.zeros(count)
        return losses, norms, evals

    return make


def steady(random: Random, losses: Floats, noise: float) -> Training:
    return training(random, losses * rows(random, len(losses), noise))


def diverges(count: int, at: int, low: float, high: float, noise: float) -> Make:
    """Return a maker of trainings whose loss goes to another level after a number of steps, and stays there."""
    return lambda random: steady(random, np.where(np.arange(count) < at, low, high), noise)


def doubles(random: Random) -> Training:
    level = fall(150, 1.2, 2.5, 30) * np.where(np.arange(150) % 20 < 6, 2.0, 1.0)
    return steady(random, level, 0.1)


SICK: Mapping[str, Sick] = {
    "NaN at step 50": Sick(broken("NaN at step 50"), starts=50),
    "gradients are NaN from step 50 on": Sick(broken("gradients are NaN from step 50 on"), starts=50),
    "diverges at step 4 from 2.5 to 7.5 and stays": Sick(diverges(150, 3, 2.5, 7.5, 0.05), starts=4),
    "the same, 12 steps": Sick(diverges(12, 3, 2.5, 7.5, 0.05), starts=4),
    "blows up in the first 15 steps": Sick(broken("blows up in the first 15 steps")),
    "blows up, and is 18 steps long": Sick(broken("blows up, and is 18 steps long")),
    "blows up at step 10 to 9": Sick(broken("blows up at step 10 to 9"), starts=11),
    "one loss of 20 at step 60": Sick(broken("one loss of 20 at step 60"), starts=61),
    "gradients 1,000 times as large from step 76 on": Sick(
        broken("gradients 1,000 times as large from step 75 on"), starts=76
    ),
    "settles above its start, 2.5 to 3.2 from step 21 on": Sick(diverges(150, 20, 2.5, 3.2, 0.1), starts=21),
    "rises from step 75 on": Sick(broken("rises from step 75 on"), starts=76),
    "doubles for 6 of 20 steps": Sick(doubles, starts=21),
    "memorizes": Sick(broken("memorizes"), starts=60),
    "validation loss rises by 1% at each of 7 validations": Sick(
        broken("validation loss rises by 1% at each of 7 validations"), starts=40
    ),
    "validation loss doubles, two validations": Sick(broken("validation loss doubles, two validations"), starts=150),
    "flat, noise 0.15": Sick(broken("flat"), UP),
    "flat, noise 0.05": Sick(diverges(150, 0, 2.5, 2.5, 0.05), UP),
    "flat, noise 0.05, 40 steps": Sick(diverges(40, 0, 2.5, 2.5, 0.05), UP),
    "flat, noise 0.05, 600 steps": Sick(diverges(600, 0, 2.5, 2.5, 0.05), UP),
    "flat, noise 0.01": Sick(diverges(150, 0, 2.5, 2.5, 0.01), UP),
    "the loss and the gradients are 0": Sick(lambda _: (np.zeros(150), np.zeros(150), {}), NEITHER),
    "gradients are 0": Sick(broken("gradients are 0"), NEITHER),
    "falls to 0.0000 in ten steps": Sick(lambda random: training(random, fall(150, 1e-7, 2.5, 1.0)), NEITHER, 14),
}


def correlated(random: Random, count: int, correlation: float, noise: float) -> Floats:
    """Noise in which each entry resembles the one before it."""
    drawn, last = np.empty(count), random.normal()
    for number in range(count):
        last = correlation * last + math.sqrt(1 - correlation**2) * random.normal()
        drawn[number] = last
    return np.exp(noise * drawn)


def related_neighbours(random: Random, count: int) -> Training:
    return training(random, usual(count) * correlated(random, count, 0.5, 0.15))


def easy_first(random: Random, count: int) -> Training:
    return training(random, usual(count) * np.linspace(1, 1.3, count) * rows(random, count, 0.12))


def warm_up_bump(random: Random, count: int) -> Training:
    bump = 1 + 0.15 * np.sin(np.pi * np.minimum(np.arange(count) / 15, 1))
    return training(random, 1.6 * bump * fall(count, 0.7, 1.0, count / 3) * rows(random, count, 0.04))


def logged_rarely(random: Random, count: int) -> Training:
    entries = count // 5
    return training(random, usual(entries) * rows(random, entries, 0.05))


def falling_validation(random: Random, count: int) -> Training:
    level = fall(count, 1.0, 2.5, count / 10)
    evals = {at: float(level[at - 1] * np.exp(random.normal(0, 0.02))) for at in range(5, count + 1, 5)}
    return training(random, usual(count) * rows(random, count), evals)


def very_heavy_tails(random: Random, count: int) -> Training:
    return training(random, np.maximum(1e-3, usual(count) * (1 + 0.15 * random.standard_t(2, count))))


def half_is_hard(random: Random, count: int) -> Training:
    return training(random, usual(count) * np.where(random.random(count) < 0.5, 3.0, 1.0) * rows(random, count))


def memorized_with_surprises(random: Random, count: int) -> Training:
    surprise = np.where(random.random(count) < 0.03, 1.0, 0.0) * rows(random, count, 0.3)
    return training(random, fall(count, 0.02, 2.0, count / 12) * rows(random, count, 0.4) + surprise)


def scaled_gradients(random: Random, count: int) -> Training:
    losses, norms, evals = training(random, usual(count) * rows(random, count))
    norms[:6], norms[49::50] = np.inf, np.inf
    return losses, norms, evals


def growing_noise(random: Random, count: int) -> Training:
    return training(random, usual(count) * np.exp(random.normal(0, 1, count) * np.linspace(0.1, 0.4, count)))


def creeping_validation(random: Random, count: int) -> Training:
    steps = looks(count, 8)
    evals = {at: float((1.2 + 0.006 * at / count) * np.exp(random.normal(0, 0.003))) for at in steps}
    return training(random, usual(count) * rows(random, count), evals)


HELD_OUT_ORDINARY: Mapping[str, Make] = sized(
    {
        "neighbouring batches resemble each other (correlation 0.5)": related_neighbours,
        "10% of the gradients 20 times as large": large_gradients(0.1, 20),
        "two sources in blocks of five steps": blocks(5, 1.0, 1.8),
        "three sources in blocks of 25 steps": blocks(25, 1.0, 1.3, 0.8),
        "easy rows first, 1.3 times as hard at the end": easy_first,
        "a bump of 15% in the warm-up": warm_up_bump,
        "a log entry every five steps": logged_rarely,
        "validation falls and stays, noise 2%, every five steps": falling_validation,
        "validation loss flat, noise 5%, 5 validations": flat_validation(0.05, 5),
        "very heavy tails, t(2)": very_heavy_tails,
        "half of the batches 3 times as hard": half_is_hard,
        "memorized, but for 3% of the batches": memorized_with_surprises,
        "gradients scaled for fp16, some infinite": scaled_gradients,
        "noise grows from 0.1 to 0.4": growing_noise,
        "validation loss creeps up by 0.5% in all": creeping_validation,
    }
)


def bursts(random: Random) -> Training:
    """The loss triples at random and recovers in about ten steps."""
    above, high = np.empty(200), 0.0
    for number in range(200):
        high = math.log(3) if number > 30 and random.random() < 0.06 else 0.85 * high
        above[number] = high
    return steady(random, fall(200, 1.0, 2.5, 20) * np.exp(above), 0.1)


def validation_turns(random: Random) -> Training:
    level = [2.0, 1.5, 1.3, 1.3, 1.35, 1.42, 1.5, 1.6, 1.7, 1.8]
    evals = {15 * (n + 1): float(each * np.exp(random.normal(0, 0.02))) for n, each in enumerate(level)}
    return training(random, fall(150, 0.2, 2.5, 30) * rows(random, 150), evals)


def growing_gradients(random: Random) -> Training:
    losses, norms, evals = training(random, usual(150) * rows(random, 150))
    return losses, norms * 1.15 ** np.maximum(0, np.arange(150) - 50), evals


def gradients_lost(random: Random) -> Training:
    losses, norms, evals = training(random, usual(60) * rows(random, 60))
    norms[30:] = np.nan
    return losses, norms, evals


def infinite(random: Random) -> Training:
    losses, norms, evals = training(random, usual(20) * rows(random, 20))
    losses[4] = np.inf
    return losses, norms, evals


HELD_OUT_SICK: Mapping[str, Sick] = {
    "infinite at step 5": Sick(infinite, starts=5),
    "gradients are NaN from step 31 on": Sick(gradients_lost, starts=31),
    "rises within 8 steps from step 41 on to 6, 60 steps": Sick(
        lambda random: steady(random, np.concatenate([usual(40), np.linspace(1, 6, 8), np.full(12, 6.0)]), 0.15),
        starts=41,
    ),
    "diverges at step 3 to three times its loss, 60 steps": Sick(diverges(60, 2, 2.0, 6.0, 0.1), starts=3),
    "diverges at step 6 to 4 and stays, noise 0.2": Sick(diverges(100, 5, 2.0, 4.0, 0.2), starts=6),
    "diverges, and is logged every ten steps": Sick(
        lambda random: steady(random, np.array([2.5, 6.0] + [9.0] * 18), 0.05),
        starts=2,
    ),
    "creeps up by 1% a step": Sick(lambda random: steady(random, 2 * 1.01 ** np.arange(100, dtype=np.float64), 0.1)),
    "triples at random and recovers in ten steps": Sick(bursts, starts=31),
    "wanders (correlation 0.9, deviation 0.35) and does not fall": Sick(
        lambda random: training(random, 2.0 * correlated(random, 200, 0.9, 0.35) * rows(random, 200, 0.05))
    ),
    "gradients grow by 15% a step from step 51 on": Sick(growing_gradients, starts=51),
    "validation turns and rises by 40%, noise 2%": Sick(validation_turns, starts=75),
    "flat, noise 0.02": Sick(diverges(150, 0, 1.5, 1.5, 0.02), UP),
}


def learned_but_for_some(random: Random, count: int) -> Training:
    some = np.where(random.random(count) < 0.05, 0.6, 0.0) * rows(random, count, 0.2)
    return training(random, fall(count, 0.05, 1.5, count / 10) * rows(random, count, 0.3) + some)


def some_easy(random: Random, count: int) -> Training:
    return training(random, usual(count) * np.where(random.random(count) < 0.05, 0.2, 1.0) * rows(random, count))


def easy_beginning(random: Random, count: int) -> Training:
    return training(random, usual(count) * np.where(np.arange(count) < 3, 0.6, 1.0) * rows(random, count, 0.1))


def three_validations(random: Random, count: int) -> Training:
    level = usual(count)
    evals = {at: float(level[at - 1] * np.exp(random.normal(0, 0.03))) for at in looks(count, 3)}
    return training(random, level * rows(random, count), evals)


def taken_in_turn(random: Random, count: int) -> Training:
    drawn = random.normal(0, 0.2, count + 1)
    return training(random, usual(count) * np.exp(drawn[1:] - 0.8 * drawn[:-1]))


LATER_ORDINARY: Mapping[str, Make] = sized(
    {
        "two sources in blocks of eight steps": blocks(8, 1.0, 1.6),
        "validation loss flat, noise 2%, 20 validations": flat_validation(0.02, 20),
        "learned, but for 5% of the batches": learned_but_for_some,
        "3% of the gradients 100 times as large": large_gradients(0.03, 100),
        "5% of the batches very easy": some_easy,
        "the first three steps easy": easy_beginning,
        "three validations that fall, noise 3%": three_validations,
        "rows taken in turn (correlation -0.5)": taken_in_turn,
    }
)


def late_jump(random: Random) -> Training:
    return steady(random, usual(60) * np.where(np.arange(60) < 30, 1, 4), 0.2)


def early_explosion(random: Random) -> Training:
    losses, norms, evals = training(random, usual(30) * rows(random, 30))
    norms[14:] *= 50
    return losses, norms, evals


def last_validation(random: Random) -> Training:
    evals = {20: 1.0, 40: 0.8, 60: float(1.0 * np.exp(random.normal(0, 0.01)))}
    return training(random, fall(60, 0.2, 2.5, 15) * rows(random, 60), evals)


LATER_SICK: Mapping[str, Sick] = {
    "jumps at step 31 to four times its loss, 60 steps": Sick(late_jump, starts=31),
    "gradients 50 times as large from step 15 on, 30 steps": Sick(early_explosion, starts=15),
    "validation loss 1.0, 0.8, 1.0": Sick(last_validation, starts=60),
    "never a finite gradient": Sick(lambda _: (usual(40), np.full(40, np.inf), {})),
    "the loss doubles over 200 steps": Sick(lambda random: steady(random, np.linspace(1.5, 3.0, 200), 0.15)),
}
"""Kinds that were written down after the first held-out ones had been run and four faults of the rules fixed."""


def real() -> dict[str, Training]:
    """Return the real trainings by their settings; those that go wrong begin with `sick`."""
    lines = (Path(__file__).parent / "monitor_curves.jsonl").read_text(encoding="utf-8").splitlines()
    curves = {curve["name"]: curve for curve in map(json.loads, lines)}
    return {
        name: (
            np.array(curve["losses"]),
            np.array(curve["norms"]),
            {int(at): loss for at, loss in curve["evals"].items()},
        )
        for name, curve in curves.items()
    }
