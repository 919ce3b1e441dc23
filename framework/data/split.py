"""The seeded split: whole groups of near-duplicates go to one side, so validation never asks what training answered."""

from __future__ import annotations

import math
import random

import numpy as np
from numpy.typing import NDArray

GOLDEN = (math.sqrt(5) - 1) / 2
"""The part of a circle by which points that are added one by one lie apart as evenly as can be."""


def held_out(groups: NDArray[np.int64], own: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose the rows of the validation.

    Args:
        groups: the number of each row's group of near-duplicate prompts.
        own: whether a row may be held out; a group with one that may not (mixed in, too long) stays in training.
        share: how many of the rows that may be held out are wanted.
        seed: decides which groups.

    Returns:
        Which rows are held out: close to `share` of them, at least a group where one leaves something to train on,
        never more than `share` where there are smaller groups.
    """
    chosen = np.zeros(len(groups), dtype=bool)
    total = int(own.sum())
    if share <= 0 or total < 2:  # noqa: PLR2004 - a single row is not split
        return chosen
    numbers, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # A group stays in training as a whole where one of its rows has to.
    free = np.bincount(inverse, weights=own, minlength=len(numbers)) == sizes
    target = min(max(1, round(share * total)), total - 1)
    order = [int(number) for number in np.flatnonzero(free)]
    random.Random(seed).shuffle(order)  # noqa: S311 - a split, not a secret
    taken = np.zeros(len(numbers), dtype=bool)
    count = 0
    for number in order:
        if count + sizes[number] <= target:
            taken[number] = True
            count += int(sizes[number])
    smallest = min(order, key=lambda number: sizes[number], default=-1)
    if not count and order and sizes[smallest] < total:  # something has to be left to train on
        taken[smallest] = True
    return taken[inverse]


def spread(count: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers from 0 to `count` in an order of which every beginning lies evenly over all of them.

    Steps of the golden ratio around a circle, from a place that `seed` chooses.
    """
    start = random.Random(seed).random()  # noqa: S311 - a choice, not a secret
    places = (start + GOLDEN * np.arange(count)) % 1
    return np.argsort(np.argsort(places))
