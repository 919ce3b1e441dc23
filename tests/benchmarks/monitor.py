"""How often the rules of `health` report an ordinary training, and how soon they report one that goes wrong.

    nice -n 19 python tests/benchmarks/monitor.py

Losses are made up: an exponential fall with the noise of rows. Ordinary are lognormal noise, heavy tails, batches of
one row with 2% of hard rows or with two kinds of rows, a base that hardly has to learn, and gradients that scatter.
It takes some minutes on one core.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from framework.api.records import Step
from framework_plugins.monitor.gradients import ExplodingGradient
from framework_plugins.monitor.health_monitor import Rule
from framework_plugins.monitor.losses import Oscillation, Plateau, RisingLoss, Spike
from framework_plugins.monitor.validation import RisingEvalLoss

Floats = NDArray[np.float64]
Random = np.random.Generator
Training = tuple[Floats, Floats, dict[int, float]]
Make = Callable[[Random], Training]
RUNS = 400
WARM_UP = 5


def reported(training: Training) -> dict[str, int]:
    """Return which rules speak, each with its first step."""
    losses, norms, evals = training
    count = len(losses)
    rules: dict[str, Rule] = {
        "spike": Spike(),
        "rising_loss": RisingLoss(),
        "oscillation": Oscillation(lambda _: WARM_UP),
        "plateau": Plateau(lambda _: WARM_UP),
        "exploding_gradient": ExplodingGradient(1.0),
        "rising_eval_loss": RisingEvalLoss(),
    }
    found: dict[str, int] = {}
    for number in range(count):
        step = Step(
            number + 1, count, 0.0, float(losses[number]), 1e-4, float(norms[number]), 0, 0.0, evals.get(number + 1)
        )
        for name, rule in rules.items():
            if rule.check(step):
                found.setdefault(name, number + 1)
                rule.reset()
    return found


def fall(count: int, low: float, high: float, tau: float) -> Floats:
    return low + (high - low) * np.exp(-np.arange(count) / tau)


def ordinary(count: int, kind: str, noise: float = 0.15, scatter: float = 0.4) -> Make:
    """Return a maker of trainings of one ordinary kind."""

    def make(random: Random) -> Training:
        low, high = (1.5, 1.6) if kind == "good base" else (0.8, 2.5)
        level = fall(count, low, high, count / 5)
        rows = np.exp(random.normal(0, noise, count) - noise**2 / 2)
        if kind == "heavy tails":
            losses = np.maximum(1e-3, level * (1 + noise * random.standard_t(3, count)))
        elif kind == "two kinds of rows":
            losses = level * np.where(random.random(count) < 0.15, 3.0, 0.65) * rows
        elif kind == "hard rows":
            losses = level * np.where(random.random(count) < 0.02, 5.0, 0.92) * rows
        else:
            losses = level * rows
        every = max(1, count // 6)
        evals = {
            at: float(fall(count, low * 1.05, high, count / 5)[at - 1] * np.exp(random.normal(0, 0.004)))
            for at in range(every, count + 1, every)
        }
        return losses, np.exp(random.normal(0, scatter, count)) * level**0.3, evals

    return make


def broken(kind: str, count: int = 150) -> Make:
    """Return a maker of trainings that go wrong."""

    def make(random: Random) -> Training:
        level = fall(count, 0.8, 2.5, 30)
        losses, norms = level * np.exp(random.normal(0, 0.15, count)), np.exp(random.normal(0, 0.4, count))
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
        return losses, norms, evals

    return make


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
}
BROKEN: Mapping[str, Make] = {
    kind: broken(kind)
    for kind in (
        "flat", "rises from step 75 on", "blows up in the first 15 steps", "blows up, and is 18 steps long",
        "blows up at step 10 to 9", "one loss of 20 at step 60", "memorizes",
    )
}  # fmt: skip


def share(make: Make, runs: int, seed: int = 3) -> tuple[float, float, Counter[str]]:
    """Return the share of trainings of which something is reported, the median first step of those, and by what."""
    random = np.random.default_rng(seed)
    found = [reported(make(random)) for _ in range(runs)]
    firsts = [min(each.values()) for each in found if each]
    counts = Counter(name for each in found for name in each)
    return len(firsts) / runs, float(np.median(firsts)) if firsts else math.nan, counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the rules of health.")
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    for title, kinds in (("ordinary", ORDINARY), ("goes wrong", BROKEN)):
        sys.stdout.write(f"\n| {title} | reported | first at step | by |\n|---|---|---|---|\n")
        for name, make in kinds.items():
            rate, first, counts = share(make, runs)
            words = ", ".join(f"{rule} {count}" for rule, count in counts.most_common())
            sys.stdout.write(f"| {name} | {rate:.1%} | {first:.0f} | {words} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
