"""hf/packing/parts.py: what goes into one pass, and what decides it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.packing.parts import TOKEN_MULTIPLE, Packer, padded_batch, tree_batch
from framework_plugins.hf.packing.tree import build_tree
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.settings.pass_size import MIN_SAVED_TOKENS
from tests.plugins.hf.packing import drawn


def talk(system: int, tail: list[int]) -> TokenRow:
    """Return a row with a system prompt of this number of tokens."""
    return TokenRow([*range(10, 10 + system), *tail], [IGNORE] * (system + len(tail) - 1) + tail[-1:])


def test_padding_stands_right_and_is_neither_seen_nor_learned() -> None:
    part = padded_batch([TokenRow([5, 6], [IGNORE, 6]), TokenRow([7, 8, 9], [IGNORE, IGNORE, 9])], pad_id=1)
    assert part["input_ids"].tolist() == [[5, 6, 1], [7, 8, 9]]
    assert part["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert part["source"].tolist() == [0, 4]
    assert part["target"].tolist() == [6, 9]
    assert part["tokens"] == 5


def test_a_tree_is_filled_up_with_a_token_of_its_own() -> None:
    part = tree_batch(build_tree([TokenRow([5, 6, 7], [IGNORE, 6, 7])]), dense_mask=True)
    assert part["input_ids"].tolist() == [[5, 6, 7, *[5] * (TOKEN_MULTIPLE - 3)]]


@given(
    rows=drawn.rows(), packing=st.sampled_from(Packing), size=st.integers(1, 8), dense_mask=st.booleans(),
    tokens=st.integers(0, 900),
)  # fmt: skip
def test_every_packing_learns_the_same_tokens_and_counts_the_same(
    rows: list[TokenRow], packing: Packing, size: int, tokens: int, *, dense_mask: bool
) -> None:
    parts = Packer(packing, size, 0, pair_cost=0.001, dense_mask=dense_mask, tokens=tokens)(rows)
    count = sum(label != IGNORE for row in rows for label in row.labels[1:])
    assert {part["count"] for part in parts} == {count}
    assert sum(part["supervised"] for part in parts) == count
    assert sum(float(part["share"].sum()) for part in parts) == count
    assert sum(part["tokens"] for part in parts) == sum(len(row.input_ids) for row in rows)
    learned: dict[int, float] = {}
    for part in parts:
        for target, share in zip(part["target"].tolist(), part["share"].tolist(), strict=True):
            learned[target] = learned.get(target, 0) + share
    wanted: dict[int, float] = {}
    for label in (label for row in rows for label in row.labels[1:] if label != IGNORE):
        wanted[label] = wanted.get(label, 0) + 1
    assert {target: share for target, share in learned.items() if share} == wanted


@given(rows=drawn.rows(most=12), size=st.integers(1, 4))
def test_a_part_needs_no_more_tokens_than_that_many_of_the_longest_row(rows: list[TokenRow], size: int) -> None:
    longest = max(len(row.input_ids) for row in rows)
    for packing in Packing:
        most = 1 if packing is Packing.none else size
        for part in Packer(packing, size, 0)(rows):
            # A beginning too short to be worth a node, and rounding, come on top.
            assert part["input_ids"].numel() < most * longest + len(rows) * MIN_SAVED_TOKENS + TOKEN_MULTIPLE


def test_rows_of_several_micro_batches_share_a_pass_where_their_tree_fits() -> None:
    rows = [talk(100, [200 + number, 7]) for number in range(8)]
    assert [part["input_ids"].shape for part in Packer(Packing.tree, 2, 0)(rows)] == [(1, 128)]
    assert [part["input_ids"].shape for part in Packer(Packing.pad, 2, 0)(rows)] == [(2, 102)] * 4
    assert [part["input_ids"].shape for part in Packer(Packing.none, 2, 0)(rows)] == [(1, 102)] * 8


@pytest.mark.parametrize("packing", [Packing.tree, Packing.pad])
def test_passes_of_a_number_of_tokens_have_as_many_rows_as_they_hold(packing: Packing) -> None:
    ids = [[*range(40 * number, 40 * number + 5 + number % 3)] for number in range(30)]
    parts = Packer(packing, 2, 0, tokens=64)([TokenRow(each, each) for each in ids])
    assert max(part["input_ids"].numel() for part in parts) <= 64
    assert len(parts) <= sum(map(len, ids)) // 64 + 2
    assert sum(part["tokens"] for part in parts) == sum(map(len, ids))


@pytest.mark.parametrize(("length", "block", "filled"), [(4100, 128, 4224), (4100, 0, 4112), (300, 128, 304)])
def test_the_last_block_of_attention_is_whole_where_that_adds_little(length: int, block: int, filled: int) -> None:
    row = TokenRow([*range(length)], [IGNORE, *range(1, length)])
    (part,) = Packer(Packing.tree, 1, 0, block=block)([row])
    assert part["input_ids"].shape == (1, filled)
    assert part["source"].numel() == -(-(length - 1) // TOKEN_MULTIPLE) * TOKEN_MULTIPLE


def test_rows_of_one_length_are_padded_together() -> None:
    rows = [talk(size, [7]) for size in (50, 3, 49, 4)]
    assert [part["input_ids"].shape for part in Packer(Packing.pad, 2, 0)(rows)] == [(2, 5), (2, 51)]


def test_long_rows_without_a_common_beginning_are_padded_where_a_tree_needs_a_dense_mask() -> None:
    long = [TokenRow([number] * 2000, [IGNORE] * 1999 + [number]) for number in range(8)]
    packer = Packer(Packing.tree, 8, 0, pair_cost=0.001, dense_mask=True)
    assert [part["input_ids"].shape for part in packer(long)] == [(8, 2000)]
    along = Packer(Packing.tree, 8, 0, pair_cost=0.001)
    assert [part["input_ids"].shape[0] for part in along(long)] == [1]
    short = [talk(200, [200 + number, 7]) for number in range(8)]
    assert [part["input_ids"].shape for part in packer(short)] == [(1, 224)]


def test_a_tree_never_costs_more_than_padding_by_its_own_measure() -> None:
    rows = drawn.make(3, 8, 600)
    packer = Packer(Packing.tree, 8, 0, pair_cost=0.001)
    assert packer.cost(build_tree(rows)) <= packer.cost_padded(packer.units(rows))


def test_passes_are_kept_small_where_that_costs_nothing_and_whole_where_a_beginning_is_shared() -> None:
    apart = [TokenRow([number] * 500, [IGNORE] * 499 + [number]) for number in range(10, 18)]
    packer = Packer(Packing.tree, 8, 0, small_passes=True)
    assert [part["input_ids"].shape[1] for part in packer(apart)] == [1008] * 4
    assert [part["input_ids"].shape[1] for part in replace(packer, small_passes=False)(apart)] == [4000]
    shared = [talk(900, [number] * 80) for number in range(2000, 2016)]
    assert len(replace(packer, rows=16)(shared)) == 1


@given(
    rows=drawn.rows(),
    packing=st.sampled_from(Packing),
    size=st.integers(1, 8),
    dense_mask=st.booleans(),
    small_passes=st.booleans(),
    tokens=st.sampled_from([0, 100, 2000]),
)
def test_a_smaller_packer_makes_a_smaller_longest_part_until_there_is_none(
    rows: list[TokenRow], packing: Packing, size: int, tokens: int, *, dense_mask: bool, small_passes: bool
) -> None:
    packer: Packer | None = Packer(
        packing, size, 0, pair_cost=0.001, dense_mask=dense_mask, small_passes=small_passes, tokens=tokens
    )
    before = None
    while packer is not None:
        sizes = [part["input_ids"].numel() for part in packer(rows)]
        assert packer.largest_part(rows) <= max(sizes) < packer.largest_part(rows) + TOKEN_MULTIPLE
        assert before is None or packer.largest_part(rows) < before
        before, packer = packer.largest_part(rows), packer.smaller(rows)


def test_a_packer_that_gives_nothing_smaller_says_so() -> None:
    rows = [talk(40, [7]), talk(50, [8])]
    assert Packer(Packing.pad, 1, 0).smaller(rows) is None
    assert Packer(Packing.none, 8, 0).smaller(rows) is None
    assert Packer(Packing.pad, 8, 0).smaller(rows) == Packer(Packing.pad, 1, 0)


def test_sizes_that_would_change_nothing_are_passed_over() -> None:
    apart = [TokenRow([number] * 500, [IGNORE] * 499 + [number]) for number in range(10, 18)]
    packer = Packer(Packing.tree, 8, 0, small_passes=True)
    assert packer.smaller(apart) == replace(packer, rows=1)  # 4 and 2 rows are passes of 1000 tokens too
