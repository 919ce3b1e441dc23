"""decide/drift.py: rows of one distribution rarely drift, and each kind of drift is found by its own test."""

from __future__ import annotations

import random
from dataclasses import replace

from framework_plugins.decide.drift import Rows, drift

WORDS = [f"word{number}" for number in range(60)]


def drawn(seed: int, count: int = 120) -> Rows:
    draw = random.Random(seed)  # noqa: S311 - made-up rows
    texts = [" ".join(draw.choices(WORDS, k=8)) for _ in range(count)]
    return Rows(texts, draw.choices(["late", "broken"], k=count), [draw.random() for _ in texts])


def drifted(earlier: Rows, new: Rows) -> list[str]:
    return [line.partition(":")[0] for line in drift(earlier, new) if ": drift," in line]


def test_rows_of_one_distribution_rarely_drift() -> None:
    alarms = [bool(drifted(drawn(2 * seed), drawn(2 * seed + 1))) for seed in range(40)]
    assert sum(alarms) <= 5  # of 40, with a level of 5 %: more than 5 come in 1 of 50 tries


def test_each_drift_is_found_by_its_own_test() -> None:
    earlier, new = drawn(2), drawn(3)
    other = [text.replace("word1 ", "parcel ").replace("word2", "box") for text in new.texts]
    assert drifted(earlier, replace(new, texts=other)) == ["texts"]
    assert drifted(earlier, replace(new, options=["late"] * 90 + ["lost"] * 30)) == ["options"]
    assert drifted(earlier, replace(new, sure=[value / 2 for value in new.sure])) == ["probabilities"]
    assert drifted(replace(earlier, options=["late"] * 120), replace(new, options=["late"] * 120)) == []
