"""Made-up trainings: losses, gradient norms and validation losses as log entries, and what a monitor says of them."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path

from framework import testing
from framework.api.plan import Plan
from framework.api.records import Step, TrainingIssue
from framework_plugins.monitor.health_monitor import HealthMonitor

RATE = 2e-4


def entries(
    losses: Sequence[float],
    norms: Sequence[float] = (),
    checks: dict[int, float] | None = None,
    *,
    total: int | None = None,
) -> list[Step]:
    """Return a log entry for each loss, from step 1; `checks` are the validation losses by step."""
    total = total or len(losses)
    return [
        Step(n, total, n / total, loss, RATE, norms[n - 1] if norms else 1.0, 100 * n, 0.1 * n, (checks or {}).get(n))
        for n, loss in enumerate(losses, start=1)
    ]


@functools.cache
def plan(*words: str) -> Plan:
    """Plan a run with these settings, once for all tests: nothing changes a plan."""
    return testing.plan(["trainer.warmup_steps=5", *words], run_dir=Path("run"))


def seen(steps: Sequence[Step], *words: str) -> list[TrainingIssue]:
    """Return what the monitor of a run with these settings says of steps."""
    monitor = HealthMonitor(plan(*words))
    return [issue for step in steps for issue in monitor.check(step)]


def kinds(steps: Sequence[Step], *words: str) -> list[tuple[int, str]]:
    """Return when it says what."""
    return [(issue.step, issue.kind) for issue in seen(steps, *words)]


def falling(count: int, *, start: float = 2.0, end: float = 0.5, noise: float = 0.1, seed: int = 0) -> list[float]:
    """Return losses that fall to a quarter of the way in a fifth of the steps, with noise that grows with the loss."""
    draw = random.Random(seed)  # noqa: S311 - noise
    level = [end + (start - end) * math.exp(-5 * n / count) for n in range(count)]
    return [loss * math.exp(noise * draw.gauss(0, 1)) for loss in level]


def ordinary(draw: random.Random) -> list[Step]:
    """Return a training as they come: of any length, level and noise, with rows that are hard or alternate."""
    count, noise = draw.choice([30, 60, 100, 200, 500]), draw.choice([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7])
    end = draw.choice([0.01, 0.1, 0.5, 1.0, 2.0])
    start, pace = end + draw.choice([0.3, 1, 3]) * max(end, 0.3), draw.choice([5, 20, 100]) * count / 200
    shape, follows = draw.choice([_plain, _hard_rows, _alternating]), draw.choice([0.0, 0.5, 1.0])
    level = [end + (start - end) * math.exp(-n / pace) for n in range(count)]
    losses = [each * scale for each, scale in zip(level, shape(count, noise, draw), strict=True)]
    norms = [(each / start) ** follows * math.exp(draw.gauss(0, 0.5)) for each in level]
    every = max(5, count // 10)
    checks = {n + 1: 1.1 * level[n] * math.exp(draw.gauss(0, 0.003)) for n in range(every - 1, count, every)}
    return entries(losses, norms, checks)


def _plain(count: int, noise: float, draw: random.Random) -> list[float]:
    return [math.exp(noise * draw.gauss(0, 1)) for _ in range(count)]


def _hard_rows(count: int, noise: float, draw: random.Random) -> list[float]:
    """Three batches in ten have three times the loss."""
    return [math.exp(noise * draw.gauss(0, 1)) * (3 if draw.random() < 0.3 else 1) for _ in range(count)]


def _alternating(count: int, noise: float, draw: random.Random) -> list[float]:
    """What is hard in one batch is missing in the next: rows are drawn without putting them back."""
    drawn = [draw.gauss(0, 1) for _ in range(count + 1)]
    return [math.exp(noise * (now - 0.8 * before) / 1.28) for before, now in itertools.pairwise(drawn)]
