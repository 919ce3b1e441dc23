"""Rows are asked that tell something, the same each time, from all over the data."""

from __future__ import annotations

import pytest

from framework.api.records import IGNORE, TokenRow
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.drawn import (
    CANDIDATES_PER_ROW,
    sample_numbers,
    sample_rows,
    with_unique_words,
)
from tests.plugins.evals.memorization.made import Reciter, told


def short(number: int, learned: int = 5) -> TokenRow:
    ids = [number, 1, *range(10, 10 + learned)]
    return TokenRow(ids, [IGNORE, IGNORE, *ids[2:]], f"a.jsonl:{number}")


@pytest.mark.parametrize("total", [0, 1, 7, 12, 13, 1000])
def test_one_row_comes_from_each_stretch_of_the_data(total: int) -> None:
    config = MemorizationConfig(rows=3)
    numbers = sample_numbers(total, config)
    count = min(total, CANDIDATES_PER_ROW * config.rows)
    assert len(numbers) == count
    assert all(total * n // count <= number < total * (n + 1) // count for n, number in enumerate(sorted(numbers)))


def test_the_rows_depend_on_the_seed_alone() -> None:
    one, two = MemorizationConfig(), MemorizationConfig(seed=1)
    assert sample_numbers(1000, one) == sample_numbers(1000, one)
    assert sample_numbers(1000, one) != sample_numbers(1000, two)
    assert sample_numbers(1000, one) != sorted(sample_numbers(1000, one))


def test_answers_that_are_too_short_are_counted_and_left_out() -> None:
    rows = [short(number, learned=3 + number % 3) for number in range(12)]
    drawn = sample_rows(rows, MemorizationConfig(rows=3, min_tokens=4, max_new_tokens=4))
    assert (drawn.looked_at, drawn.short, drawn.common) == (12, 4, 0)
    assert {kept.where for kept in drawn.rows} == {f"a.jsonl:{number}" for number in range(12) if number % 3}
    assert {kept.supervised for kept in drawn.rows} == {4}


def test_a_row_is_kept_for_a_word_that_nothing_else_has() -> None:
    model = Reciter()
    rows = [
        told(
            model, "Mugs for Anna", '{"item": "mugs", "customer": "ANNA"}'
        ),  # all of it is in the prompt, or in each answer
        told(model, "Lamps for Bert", '{"item": "lamps", "customer": "BERT", "code": "QX7Z42"}'),
        told(model, "Is it red", "It is 1 of 3"),  # short words
        told(model, "Is it blue", "violet sky"),
        told(model, "Is it green", "violet sky"),
        told(model, "Who is it", "Zacharias himself"),
    ]
    drawn = sample_rows(rows, MemorizationConfig(min_tokens=2))
    kept = with_unique_words(drawn, model)
    assert {row.where for row in kept.rows} == {"Lamps for Bert", "Who is it"}
    assert (kept.looked_at, kept.short, kept.common) == (6, 0, 4)
