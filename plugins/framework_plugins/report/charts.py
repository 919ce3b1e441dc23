"""The coordinates of the two drawings, in units of an SVG that is 600 wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from framework.api.records import Lengths, Step, TrainingIssue

WIDTH, HEIGHT = 600, 150
POINTS = 300
"""Points of a curve; of more steps, as many are averaged as it takes."""


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: its rectangle, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    title: str


def histogram(lengths: Lengths) -> dict[str, Any]:
    """Return the bars of the lengths, the highest `HEIGHT` high, and the lengths at the left and right end."""
    most, each = max(lengths.histogram), WIDTH / len(lengths.edges)
    bars = []
    for number, (edge, rows) in enumerate(zip(lengths.edges, lengths.histogram, strict=True)):
        height = max(2.0, rows / most * HEIGHT) if rows else 0.0
        first = lengths.edges[number - 1] + 1 if number else 1
        title = f"{first:,} to {edge:,} tokens: {rows:,} {'row' if rows == 1 else 'rows'}"
        bars.append(
            Bar(round(number * each + 1, 1), round(HEIGHT - height, 1), round(each - 2, 1), round(height, 1), title)
        )
    return {"bars": bars, "most": most, "first": 1, "last": lengths.edges[-1]}


def curve(steps: Sequence[Step], issues: Sequence[TrainingIssue] = ()) -> dict[str, Any] | None:
    """Return the training loss as a line and the validation losses as dots on another; None for fewer than two steps.

    Problems are marked at their steps.
    """
    steps = list({step.step: step for step in steps}.values())  # the last may come again with its validation
    losses = [(step.step, step.loss) for step in steps if math.isfinite(step.loss)]
    checks = [(step.step, step.eval_loss) for step in steps if step.eval_loss is not None]
    dots = [(number, loss) for number, loss in checks if math.isfinite(loss)]
    if len(losses) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    losses = _averaged(losses)
    highest = max(loss for _, loss in [*losses, *dots]) or 1.0
    last = max(number for number, _ in [*losses, *dots])
    first = losses[0][0]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        number, loss = point
        across = (number - first) / max(last - first, 1) * WIDTH
        return round(across, 1), round(HEIGHT - max(loss, 0.0) / highest * HEIGHT, 1)

    return {
        "line": " ".join(f"{x},{y}" for x, y in map(place, losses)),
        "dots": [(*place(dot), f"step {dot[0]}: eval_loss {dot[1]:.4f}") for dot in dots],
        "checks": " ".join(f"{x},{y}" for x, y in map(place, dots)),
        "marks": [(place((max(issue.step, first), 0.0))[0], issue.line) for issue in issues],
        "highest": f"{highest:.3g}",
        "first": first,
        "last": last,
    }


def _averaged(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Average neighbours, so that no more than `POINTS` are left."""
    each = math.ceil(len(points) / POINTS)
    parts = [points[start : start + each] for start in range(0, len(points), each)]
    return [(part[-1][0], sum(loss for _, loss in part) / len(part)) for part in parts]
