"""The coordinates of a parallel-coordinates plot of a sweep: an axis for each setting and one for the objective.

Units are those of an SVG that is `WIDTH` wide and `HEIGHT` high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from framework_plugins.report.importance import as_numbers

WIDTH, HEIGHT = 900, 260
LOG_AXIS_RATIO = 50
"""From this ratio of the largest to the smallest number on, an axis is logarithmic."""
MIN_LABEL_DISTANCE = 14.0
"""How far labels of an axis are apart at least: of more words some have none."""
LETTER_WIDTH = 7.0
"""The width of a letter, at the most."""


@dataclass(frozen=True)
class Axis:
    """An axis: where it is, its name, its labels, each with its height, and which end of a text is at it.

    `anchor` is of the name, `side` of the labels: at the right end of the drawing they are before the axis.
    """

    x: float
    name: str
    labels: list[tuple[float, str]]
    anchor: str = "start"
    side: str = "start"
    letters: int = 40
    """How many letters of a text have room up to the next axis."""


@dataclass(frozen=True)
class Line:
    """The line of a trial: its corners in SVG, its name, and its quality, 1 for the best and 0 for the worst."""

    corners: str
    title: str
    rank: float


def axes(names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[tuple[Axis, list[float]]]:
    """Return each axis with the height of each trial on it.

    Args:
        names: of the axes.
        columns: for each axis the value of each trial.
    """
    gap = WIDTH / max(1, len(names) - 1)
    pairs = []
    for index, (name, column) in enumerate(zip(names, columns, strict=True)):
        heights, labels = _place_numbers(column) or _place_words(column)
        is_last = index == len(names) - 1 > 0
        # Between two axes are labels of the first, and before the last axis its own too.
        sides = "end" if is_last else "middle" if index else "start", "end" if is_last else "start"
        room = int(gap / (2 if is_last or index == len(names) - 2 else 1) / LETTER_WIDTH) - 1
        pairs.append((Axis(round(index * gap, 1), name, _remove_overlaps(labels), *sides, max(3, room)), heights))
    return pairs


def lines(placed: Sequence[tuple[Axis, Sequence[float]]], titles: Sequence[str], ranks: Sequence[float]) -> list[Line]:
    """Return the line of each trial, the best one last, so that it lies on top."""
    result = []
    for index, (title, rank) in enumerate(zip(titles, ranks, strict=True)):
        corners = " ".join(f"{axis.x},{heights[index]}" for axis, heights in placed)
        result.append(Line(corners, title, round(rank, 3)))
    return sorted(result, key=lambda line: line.rank)


def _place_numbers(column: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]] | None:
    """Place numbers from the bottom up; None if a value is not a finite number."""
    numbers = as_numbers(column)
    if numbers is None or not all(map(math.isfinite, numbers)):
        return None
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= LOG_AXIS_RATIO
    positions = [math.log(value) for value in numbers] if log else numbers
    bottom, span = min(positions), max(positions) - min(positions)
    heights = [_height((position - bottom) / span if span else 0.5) for position in positions]
    labels = [(_height(0.0 if span else 0.5), f"{low:.4g}"), (_height(1.0), f"{high:.4g}")]
    return heights, labels[: 2 if span else 1]


def _place_words(column: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Place words at equal distances, in the order in which they come."""
    order = list(dict.fromkeys(column))
    at = {word: _height(index / (len(order) - 1) if len(order) > 1 else 0.5) for index, word in enumerate(order)}
    return [at[word] for word in column], [(height, word) for word, height in at.items()]


def _remove_overlaps(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Leave out labels that would overlap others; the first and the last of an axis are kept."""
    every = max(1, math.ceil(MIN_LABEL_DISTANCE * max(1, len(labels) - 1) / HEIGHT))
    if every == 1:
        return list(labels)
    return [*labels[: len(labels) - every : every], labels[-1]]


def _height(share: float) -> float:
    return round(HEIGHT * (1 - share), 1)
