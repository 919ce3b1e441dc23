"""hf/packing/row_sampler.py: similar rows meet, and no row is more likely to come early or late than another."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.packing import row_sampler
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.packing.row_sampler import RowSampler, sort_by_kind
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.step_runner import Collator
from tests.support.examples import examples
from tests.support.training import PLAIN_LOSS

BATCH = 4


def topics(count: int, each: int) -> list[TokenRow]:
    """Return rows on topics, each topic with a long beginning of its own, in random order and of random length."""
    draw = random.Random(0)  # noqa: S311 - which rows, not a secret
    rows = []
    for topic, number in ((topic, number) for topic in range(count) for number in range(each)):
        ids = [1, 2, *[10 + topic] * 60, *[100 + number] * draw.randint(1, 30)]
        rows.append(TokenRow(ids, [IGNORE] * (len(ids) - 1) + ids[-1:]))
    draw.shuffle(rows)
    return rows


@settings(max_examples=examples(60))
@given(
    count=st.integers(1, 60), batch=st.integers(1, 9), seed=st.integers(0, 99), epoch=st.integers(0, 3),
    group=st.booleans(),
)  # fmt: skip
def test_every_row_comes_once_an_epoch(count: int, batch: int, seed: int, epoch: int, *, group: bool) -> None:
    made = RowSampler(topics(1, count), batch, seed, group=group, by_length=seed % 2 == 0)
    made.set_epoch(epoch)
    assert sorted(made) == [*range(count)]
    assert len(made) == count


def test_the_seed_and_the_epoch_alone_decide() -> None:
    rows = topics(5, 8)
    first = [*RowSampler(rows, BATCH, 1, group=True, by_length=False)]
    assert first == [*RowSampler(rows, BATCH, 1, group=True, by_length=False)]
    assert first != [*RowSampler(rows, BATCH, 2, group=True, by_length=False)]
    later = RowSampler(rows, BATCH, 1, group=True, by_length=False)
    later.set_epoch(1)
    assert first != [*later]


@pytest.mark.parametrize(("group", "by_length"), [(False, False), (True, False), (True, True)])
def test_the_place_of_each_row_in_the_epoch_is_uniform(
    monkeypatch: pytest.MonkeyPatch, *, group: bool, by_length: bool
) -> None:
    """Over many epochs each row is in each step equally often, whatever its topic and length.

    With 43 rows, steps of 4 and windows of 12, the last step has 3 rows. The counts of a row over the 11 steps are
    multinomial; the chi-squared statistic of all rows is about normal with mean f and variance 2 f, where f = 42 x 10.
    """
    monkeypatch.setattr(row_sampler, "SORT_WINDOW", 12)
    rows = topics(6, 7) + topics(1, 1)
    epochs, steps = 1000, -(-len(rows) // BATCH)
    counts = np.zeros((len(rows), steps))
    made = RowSampler(rows, BATCH, 5, group=group, by_length=by_length)
    for epoch in range(epochs):
        made.set_epoch(epoch)
        numbers = np.fromiter(made, int)
        counts[numbers, np.arange(len(rows)) // BATCH] += 1
    sizes = np.bincount(np.arange(len(rows)) // BATCH)
    wanted = epochs * sizes / len(rows)
    freedom = (len(rows) - 1) * (steps - 1)
    chi = float(((counts - wanted) ** 2 / wanted).sum())
    assert abs(chi - freedom) < 5 * (2 * freedom) ** 0.5


def test_rows_that_begin_alike_meet_in_a_step() -> None:
    rows = topics(8, 8)

    def mates(*, group: bool) -> float:
        numbers = [*RowSampler(rows, BATCH, 3, group=group, by_length=False)]
        steps = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
        alike = [max(Counter(rows[number].input_ids[5] for number in step).values()) for step in steps]
        return sum(alike) / len(rows)

    assert mates(group=True) == 1
    assert mates(group=False) < 0.6


def test_rows_without_a_common_beginning_are_sorted_by_length() -> None:
    draw = random.Random(1)  # noqa: S311 - which rows, not a secret
    rows = [TokenRow([1, number, *[3] * draw.randint(1, 90)], []) for number in range(10, 40)]
    lengths = [len(rows[number].input_ids) for number in sort_by_kind(rows, by_length=True)]
    assert lengths == sorted(lengths)


def test_rows_of_no_kind_stay_as_they_were_shuffled_where_nothing_is_padded() -> None:
    rows = [TokenRow([1, number, *[3] * (number % 7)], []) for number in range(10, 40)]
    assert sort_by_kind(rows, by_length=False) == [*range(30)]
    alike = [TokenRow([1, 2, *[3] * 40, number], []) for number in range(5)]
    assert sort_by_kind([*rows[:3], *alike, *rows[3:]], by_length=False)[:5] == [3, 4, 5, 6, 7]


def test_within_a_kind_lengths_are_neighbours() -> None:
    rows = topics(3, 10)
    numbers = sort_by_kind(rows, by_length=True)
    for topic in range(3):
        lengths = [len(rows[n].input_ids) for n in numbers if rows[n].input_ids[5] == 10 + topic]
        assert lengths == sorted(lengths)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # which imports nothing again
def test_workers_give_the_batches_of_the_process_itself() -> None:
    rows = topics(4, 6)
    seen = []
    for workers in (0, 2):
        loader: Any = DataLoader(
            range(len(rows)),  # type: ignore[arg-type]
            batch_size=BATCH,
            sampler=RowSampler(rows, BATCH, 9, group=True, by_length=False),
            collate_fn=Collator(rows, Packer(Packing.tree, 2, 0), PLAIN_LOSS),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        seen.append([part["input_ids"].tolist() for batch in loader for part in batch["parts"]])
    assert seen[0] == seen[1]
