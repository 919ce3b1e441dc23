"""The coordinates of the drawings, in units of an SVG that is 600 wide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from framework.api import EVAL_LOSS, Lengths, Step, TrainingIssue

WIDTH, HEIGHT, LOW_HEIGHT = 600, 150, 60
MAX_POINTS = 300
"""Points of a curve; of more steps, as many are averaged as it takes."""
COLOURS = 6
"""Colours of validations in the style; after the last one they begin again."""


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
    begin = next((number for number, rows in enumerate(lengths.histogram) if rows), 0)  # no row is shorter
    edges, counts = lengths.edges[begin:], lengths.histogram[begin:]
    shortest = lengths.edges[begin - 1] + 1 if begin else 1
    most, each = max(counts), WIDTH / len(edges)
    bars = []
    for number, (edge, rows) in enumerate(zip(edges, counts, strict=True)):
        height = max(2.0, rows / most * HEIGHT) if rows else 0.0
        first = edges[number - 1] + 1 if number else shortest
        title = f"{first:,} to {edge:,} tokens: {rows:,} {'row' if rows == 1 else 'rows'}"
        bars.append(
            Bar(round(number * each + 1, 1), round(HEIGHT - height, 1), round(each - 2, 1), round(height, 1), title)
        )
    return {"bars": bars, "most": most, "first": shortest, "last": edges[-1]}


@dataclass(frozen=True)
class Checks:
    """The validations of all rows that are held out, or of one set of them.

    Attributes:
        name: of the loss.
        number: of its colour.
        dots: place, height, and what they stand for.
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
        marks: problems: place, and what they are.
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
    checks = {EVAL_LOSS: _validations(steps, *losses_outside)}
    for step in steps:
        for name, value in step.metrics.items():
            if name.startswith(f"{EVAL_LOSS}_"):
                checks.setdefault(name, []).append((step.step, value))
    begin = min((number for number, _ in (*losses, *checks[EVAL_LOSS])), default=0)
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
    found = {step.step: step.eval_loss for step in steps if step.eval_loss is not None}
    if steps and before is not None and after is not None:
        found = {0: before, **found}
        found.setdefault(steps[-1].step, after)
    return [*found.items()]


def _panel(
    name: str,
    height: int,
    first: int,
    values: Sequence[tuple[int, float]],
    checks: Mapping[str, Sequence[tuple[int, float]]] = MappingProxyType({}),
    issues: Sequence[TrainingIssue] = (),
) -> Panel | None:
    finite = [(number, value) for number, value in values if math.isfinite(value)]
    found = {name: [dot for dot in each if math.isfinite(dot[1])] for name, each in checks.items()}
    dots = [dot for each in found.values() for dot in each]
    if len(finite) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    points = _downsampled(finite)
    # A reward, and a loss of one, may be below 0.
    lowest, highest = (most(0.0, *(value for _, value in [*points, *dots])) for most in (min, max))
    highest += lowest == highest
    last = max(number for number, _ in [*points, *dots])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        number, value = point
        across = (number - first) / max(last - first, 1) * WIDTH
        return round(across, 1), round(height - (value - lowest) / (highest - lowest) * height, 1)

    scale = ticks(highest - lowest, 4 if height > LOW_HEIGHT else 2)
    if lowest < 0:
        apart = scale[0]
        scale = [apart * n for n in range(math.ceil(lowest / apart), math.floor(highest / apart) + 1)]
    return Panel(
        name,
        height,
        " ".join(f"{x},{y}" for x, y in map(place, points)),
        [(place((first, value))[1], f"{value:g}") for value in scale],
        [
            (place((number, 0.0))[0], f"{number:g}")
            for number in dict.fromkeys((first, *ticks(last, 5)))
            if first <= number <= last
        ],
        [
            Checks(
                name,
                number % COLOURS,
                [(*place(dot), f"step {dot[0]}: {name} {dot[1]:.4f}") for dot in each],
                " ".join(f"{x},{y}" for x, y in map(place, each)) if len(each) > 1 else "",
            )
            for number, (name, each) in enumerate(found.items())
            if each
        ],
        [(place((max(issue.step, first), 0.0))[0], issue.line) for issue in issues],
    )


@dataclass(frozen=True)
class Overlay:
    """Curves of one quantity over each other: ticks as in a panel, and for each curve its points, name and end."""

    name: str
    ticks: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    lines: list[tuple[str, str]]


def overlay(name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> Overlay | None:
    """Draw curves over each other, the last one on top; None without two of two points.

    A curve that rises far above where the curves begin is cut there: one that diverges would flatten the others.
    """
    found = {title: [dot for dot in each if math.isfinite(dot[1])] for title, each in curves.items()}
    found = {title: _downsampled(each) for title, each in found.items() if len(each) > 1}
    if len(found) < 2:  # noqa: PLR2004 - one lies over nothing
        return None
    values = [value for each in found.values() for _, value in each]
    low, high = min(values), min(max(values), 1.2 * max(each[0][1] for each in found.values()))
    first, last = (end(number for each in found.values() for number, _ in each) for end in (min, max))
    span = high - low or 1.0

    def place(number: float, value: float) -> tuple[float, float]:
        across = (number - first) / max(last - first, 1) * WIDTH
        return round(across, 1), round(HEIGHT * (1 - (min(value, high) - low) / span), 1)

    return Overlay(
        name,
        [(place(first, value)[1], f"{value:.3g}") for value in (low, (low + high) / 2, high)],
        [
            (place(number, low)[0], f"{number:g}")
            for number in dict.fromkeys((first, *ticks(last, 5)))
            if number >= first
        ],
        [(" ".join(f"{x},{y}" for x, y in (place(*dot) for dot in each)), title) for title, each in found.items()],
    )


def ticks(highest: float, most: int) -> list[float]:
    """Return round values above 0 and up to `highest`, about `most` of them: 1, 2 or 5 times a power of ten apart."""
    least = 10.0 ** math.floor(math.log10(highest / most))
    # Rounding does not lose the highest one.
    counts = {each: int(highest / each * (1 + 1e-9)) for each in (least * factor for factor in (1, 2, 5, 10, 20))}
    each, count = next((each, count) for each, count in counts.items() if count <= most)
    return [float(f"{each * number:.6g}") for number in range(1, count + 1)]


def _downsampled(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Average neighbours, so that no more than `POINTS` are left."""
    each = math.ceil(len(points) / MAX_POINTS)
    parts = [points[start : start + each] for start in range(0, len(points), each)]
    return [(part[-1][0], sum(loss for _, loss in part) / len(part)) for part in parts]
