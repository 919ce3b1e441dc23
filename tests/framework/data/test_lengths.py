"""framework/data/lengths.py: what a limit costs, and which one is asked for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.audit import RowPart
from framework.api.records import Example, TokenRow
from framework.api.schema import Overflow
from framework.data import lengths, writer
from framework.data.store import Store
from framework.data.writer import Writer


def stored(folder: Path, *sizes: tuple[int, int]) -> Store:
    """Write rows of (length, learned tokens at the end)."""

    def fill(into: Writer) -> None:
        for length, learned in sizes:
            ids = list(range(length))
            labels = [-100] * (length - learned) + ids[length - learned :]
            into.add([Example((), "text", f"row of {length}", text="x")], [TokenRow(ids, labels)], RowPart.train, 0)

    return writer.write(folder / "rows", fill)


SIZES = ((4, 2), (8, 3), (12, 10))
ALL = np.arange(3)


@pytest.mark.parametrize(
    ("overflow", "limit", "kept", "learned"),
    [
        (Overflow.drop, 12, [4, 8, 12], 15),
        (Overflow.drop, 8, [4, 8], 5),
        (Overflow.truncate, 8, [4, 8, 8], 11),
        (Overflow.truncate, 6, [4, 6, 6], 7),
        (Overflow.truncate, 5, [4, 5], 5),
        (Overflow.truncate, 3, [3, 3], 2),
        (Overflow.fail, 12, [4, 8, 12], 15),
    ],
)
def test_long_rows_are_dropped_or_cut_and_what_has_nothing_to_learn_goes(
    tmp_path: Path, overflow: Overflow, limit: int, kept: list[int], learned: int
) -> None:
    rows = stored(tmp_path, *SIZES)
    fitted = lengths.fit(rows, ALL, limit, overflow, "training")
    made = lengths.token_rows(rows, fitted.numbers, limit)
    assert fitted.supervised == sum(row.supervised for row in made)
    assert fitted.supervised + fitted.lost == 15
    assert fitted.left_out == 3 - len(kept)
    assert fitted.long == sum(length > limit for length, _ in SIZES)
    assert [len(row.input_ids) for row in made] == kept
    assert fitted.supervised == learned


@pytest.mark.parametrize("overflow", list(Overflow))
def test_a_limit_that_leaves_nothing_names_the_length_that_would_do(tmp_path: Path, overflow: Overflow) -> None:
    with pytest.raises(FrameworkError, match=r"max_seq_length=12"):
        lengths.fit(stored(tmp_path, *SIZES), ALL, 2, overflow, "validation")


def test_failing_on_overflow_names_the_first_row_and_the_longest(tmp_path: Path) -> None:
    with pytest.raises(
        FrameworkError, match=r"2 of 3 training rows .*row of 8 has 8 tokens, the longest 12\).*max_seq_length=12"
    ):
        lengths.fit(stored(tmp_path, *SIZES), ALL, 6, Overflow.fail, "training")


def test_what_stands_beyond_the_limit_is_counted(tmp_path: Path) -> None:
    measured = lengths.measure(stored(tmp_path, *SIZES), ALL, ALL[:1], 6, 2, 0)
    assert (measured.lost_tokens, measured.lost_supervised_tokens) == (2 + 6, 2 + 6)
    assert (measured.p50, measured.p95, measured.longest) == (8, 12, 12)
    assert sum(measured.histogram) + measured.beyond == 3
    assert measured.padding_share == 0  # a single row is left


@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_the_histogram_counts_every_row_once_in_its_own_bin(sizes: list[int]) -> None:
    class Held:
        class columns:  # noqa: N801 - stands for the attribute
            tokens = np.array(sizes, np.int32)

    measured = lengths.measure(Held, np.arange(len(sizes)), np.arange(len(sizes)), 10_000, 4, 1)  # type: ignore[arg-type]
    assert len(measured.edges) == len(measured.histogram) <= lengths.BINS
    low = 0
    for edge, count in zip(measured.edges, measured.histogram, strict=True):
        assert count == sum(low < size <= edge for size in sizes)
        low = edge
    assert sum(measured.histogram) + measured.beyond == len(sizes)
    assert measured.p50 <= measured.p95 <= measured.p99 <= measured.longest == max(sizes)


@pytest.mark.parametrize(("count", "far", "edge"), [(398, 2, 120), (48, 2, 120), (2, 2, 8200)])
def test_a_few_rows_that_are_far_longer_are_counted_and_not_drawn(count: int, far: int, edge: int) -> None:
    class Held:
        class columns:  # noqa: N801 - stands for the attribute
            tokens = np.array([120] * count + [8200] * far, np.int32)

    numbers = np.arange(count + far)
    measured = lengths.measure(Held, numbers, numbers, 10_000, 4, 1)  # type: ignore[arg-type]
    assert (measured.edges[-1], measured.beyond) == (edge, far if edge == 120 else 0)


@pytest.mark.parametrize(
    ("p99", "longest", "suggested"),
    [(100, 120, 128), (128, 128, 128), (129, 129, 192), (100, 201, 128), (60, 4000, 64)],
)
def test_the_suggested_length_holds_all_rows_unless_one_is_far_off(p99: int, longest: int, suggested: int) -> None:
    assert lengths.suggest(p99, longest) == suggested


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=50), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_padding_is_that_of_batches_in_the_drawn_order(sizes: list[int], batch: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(np.array(sizes))
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    slots = sum(int(part.max()) * len(part) for part in batches)
    assert lengths.padding(np.array(sizes), batch, seed) == pytest.approx(1 - sum(sizes) / slots)
    assert lengths.padding(np.array(sizes), 1, seed) == 0
