"""The coordinates of the drawings, in units of an SVG that is 600 wide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from framework.api import DataResult, Measure, Step, TrainingIssue

WIDTH, HEIGHT, LOW_HEIGHT, SIDE = 600, 150, 60, 240
MAX_POINTS = 300
"""Points of a curve; of more steps, as many are averaged as it takes."""
COLOURS = 6
"""Colours of validations in the style; after the last one they begin again."""


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: its rectangle and its label."""

    x: float
    y: float
    width: float
    height: float
    title: str


def histogram(data: DataResult) -> dict[str, Any]:
    """Return the bars of the lengths, the highest `HEIGHT` high, and the lengths at the left and right end."""
    lengths = data.lengths
    begin = next((index for index, rows in enumerate(lengths.histogram) if rows), 0)  # no row is shorter
    edges, counts = lengths.edges[begin:], lengths.histogram[begin:]
    shortest = lengths.edges[begin - 1] + 1 if begin else 1
    max_rows, bin_width = max(counts), WIDTH / len(edges)
    bars = []
    for index, (edge, rows) in enumerate(zip(edges, counts, strict=True)):
        height = max(2.0, rows / max_rows * HEIGHT) if rows else 0.0
        low_edge = edges[index - 1] + 1 if index else shortest
        title = f"{low_edge:,} to {edge:,} tokens: {rows:,} {'row' if rows == 1 else 'rows'}"
        bars.append(
            Bar(
                round(index * bin_width + 1, 1),
                round(HEIGHT - height, 1),
                round(bin_width - 2, 1),
                round(height, 1),
                title,
            )
        )
    return {"bars": bars, "most": max_rows, "first": shortest, "last": edges[-1]}


@dataclass(frozen=True)
class Point:
    """A point of a square drawing: its place, the ends of the interval of its height, and its label."""

    x: float
    y: float
    low: float
    high: float
    title: str


def diagonal(rows: Sequence[Sequence[str | float | None]]) -> list[Point]:
    """Return the points of a table whose first columns are shares: x, y and the ends of y's interval."""
    shares = [[cell for cell in row[:4] if isinstance(cell, float)] for row in rows]
    points = []
    for x, y, low, high in (row for row in shares if len(row) == 4):  # noqa: PLR2004 - the four of a point
        title = f"{x:.0%}: {y:.0%}, {low:.0%} to {high:.0%}"
        points.append(Point(_along(x), _along(1 - y), _along(1 - low), _along(1 - high), title))
    return points


def _along(share: float) -> float:
    return round(SIDE * share, 1)


@dataclass(frozen=True)
class Checks:
    """The validations of all rows that are held out, or of one set of them.

    Attributes:
        name: of the loss.
        number: of its colour.
        dots: position, height and label.
        line: the points of the line that joins them; empty with fewer than two.
    """

    name: str
    number: int
    dots: list[tuple[float, float, str]]
    line: str


@dataclass(frozen=True)
class Panel:
    """A drawing of one quantity over the steps.

    Attributes:
        name: of the quantity.
        height: of the drawing; zero lies there, the highest value at 0.
        line: the points of the line.
        ticks: height and text of each line across.
        steps: place and text of each mark of the axis below.
        checks: validations, those of all rows first.
        marks: problems: position and text.
    """

    name: str
    height: int
    line: str
    ticks: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    checks: list[Checks] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)


def curves(
    steps: Sequence[Step],
    issues: Sequence[TrainingIssue] = (),
    losses_outside: tuple[float | None, float | None] = (None, None),
) -> list[Panel]:
    """Draw the loss with the validations and the problems, the learning rate, and the norm of the gradient.

    Args:
        steps: of the training.
        issues: that were found in it.
        losses_outside: the validation loss before and after the training, where they were measured.

    Returns:
        A panel each, over the same steps; of a quantity with fewer than two finite values there is none.
    """
    steps = list({step.step: step for step in steps}.values())  # the last may come again with its validation
    losses = [(step.step, step.loss) for step in steps]
    checks = {Measure.EVAL_LOSS: _validations(steps, *losses_outside)}
    for step in steps:
        for name, value in step.metrics.items():
            if name.startswith(f"{Measure.EVAL_LOSS}_"):
                checks.setdefault(name, []).append((step.step, value))
    begin = min((step_number for step_number, _ in (*losses, *checks[Measure.EVAL_LOSS])), default=0)
    panels = [
        _panel("loss", HEIGHT, begin, losses, checks, issues),
        _panel("learning rate", LOW_HEIGHT, begin, [(step.step, step.learning_rate) for step in steps]),
        _panel("gradient norm", LOW_HEIGHT, begin, [(step.step, step.grad_norm) for step in steps]),
    ]
    for name in dict.fromkeys(name for step in steps for name in step.loss_metrics):
        values = [(step.step, step.loss_metrics[name]) for step in steps if name in step.loss_metrics]
        panels.append(_panel(name, LOW_HEIGHT, begin, values))
    return [panel for panel in panels if panel]


def _validations(steps: Sequence[Step], before: float | None, after: float | None) -> list[tuple[int, float]]:
    """Return the validations of a training, with those of the base and of the trained model at the ends."""
    losses = {step.step: step.eval_loss for step in steps if step.eval_loss is not None}
    if steps and before is not None and after is not None:
        losses = {0: before, **losses}
        losses.setdefault(steps[-1].step, after)
    return [*losses.items()]


def _panel(
    name: str,
    height: int,
    begin: int,
    values: Sequence[tuple[int, float]],
    checks: Mapping[str, Sequence[tuple[int, float]]] = MappingProxyType({}),
    issues: Sequence[TrainingIssue] = (),
) -> Panel | None:
    finite = [(step, value) for step, value in values if math.isfinite(value)]
    finite_checks = {name: [dot for dot in series if math.isfinite(dot[1])] for name, series in checks.items()}
    dots = [dot for series in finite_checks.values() for dot in series]
    if len(finite) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    points = _downsample(finite)
    # A reward, and a loss of one, may be below 0.
    lowest, highest = (extreme(0.0, *(value for _, value in [*points, *dots])) for extreme in (min, max))
    highest += lowest == highest
    end = max(step for step, _ in [*points, *dots])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        step, value = point
        across = (step - begin) / max(end - begin, 1) * WIDTH
        return round(across, 1), round(height - (value - lowest) / (highest - lowest) * height, 1)

    scale = ticks(highest - lowest, 4 if height > LOW_HEIGHT else 2)
    if lowest < 0:
        gap = scale[0]
        scale = [gap * n for n in range(math.ceil(lowest / gap), math.floor(highest / gap) + 1)]
    return Panel(
        name,
        height,
        " ".join(f"{x},{y}" for x, y in map(place, points)),
        [(place((begin, value))[1], f"{value:g}") for value in scale],
        [
            (place((step, 0.0))[0], f"{step:g}")
            for step in dict.fromkeys((begin, *ticks(end, 5)))
            if begin <= step <= end
        ],
        [
            Checks(
                name,
                index % COLOURS,
                [(*place(dot), f"step {dot[0]}: {name} {dot[1]:.4f}") for dot in series],
                " ".join(f"{x},{y}" for x, y in map(place, series)) if len(series) > 1 else "",
            )
            for index, (name, series) in enumerate(finite_checks.items())
            if series
        ],
        [(place((max(issue.step, begin), 0.0))[0], issue.line) for issue in issues],
    )


@dataclass(frozen=True)
class Overlay:
    """Curves of one quantity over each other: ticks as in a panel, and for each curve its points, name and end."""

    name: str
    ticks: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    lines: list[tuple[str, str]]


def overlay(name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> Overlay | None:
    """Draw curves over each other, the last one on top; None without two curves of two points.

    A curve that rises far above where the curves first_step is cut there: one that diverges would flatten the others.
    """
    finite = {title: [dot for dot in series if math.isfinite(dot[1])] for title, series in curves.items()}
    finite = {title: _downsample(series) for title, series in finite.items() if len(series) > 1}
    if len(finite) < 2:  # noqa: PLR2004 - one lies over nothing
        return None
    values = [value for series in finite.values() for _, value in series]
    low, high = min(values), min(max(values), 1.2 * max(series[0][1] for series in finite.values()))
    first_step, last_step = (end(step for series in finite.values() for step, _ in series) for end in (min, max))
    span = high - low or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        across = (step - first_step) / max(last_step - first_step, 1) * WIDTH
        return round(across, 1), round(HEIGHT * (1 - (min(value, high) - low) / span), 1)

    return Overlay(
        name,
        [(place(first_step, value)[1], f"{value:.3g}") for value in (low, (low + high) / 2, high)],
        [
            (place(step, low)[0], f"{step:g}")
            for step in dict.fromkeys((first_step, *ticks(last_step, 5)))
            if step >= first_step
        ],
        [(" ".join(f"{x},{y}" for x, y in (place(*dot) for dot in series)), title) for title, series in finite.items()],
    )


def ticks(highest: float, limit: int) -> list[float]:
    """Return round values above 0 and up to `highest`, about `limit` of them: 1, 2 or 5 times a power of ten apart."""
    least = 10.0 ** math.floor(math.log10(highest / limit))
    # Rounding does not lose the highest one.
    counts = {
        spacing: int(highest / spacing * (1 + 1e-9)) for spacing in (least * factor for factor in (1, 2, 5, 10, 20))
    }
    spacing, count = next((spacing, count) for spacing, count in counts.items() if count <= limit)
    return [float(f"{spacing * multiple:.6g}") for multiple in range(1, count + 1)]


def _downsample(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Average neighbours, so that no more than `POINTS` are left."""
    size = math.ceil(len(points) / MAX_POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[-1][0], sum(loss for _, loss in part) / len(part)) for part in parts]
