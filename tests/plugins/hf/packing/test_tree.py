"""hf/packing/tree.py: along its branch every row is what it was, and a shared beginning is there once."""

from __future__ import annotations

import sys
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.packing.tree import Tree, build_tree, common_prefix_length
from framework_plugins.hf.settings.pass_size import MIN_SAVED_TOKENS
from tests.plugins.hf.packing import drawn
from tests.support.examples import examples

IDS = st.lists(st.integers(0, 3), max_size=40)


def branch_of(tree: Tree, place: int) -> list[int]:
    """Return the places of the tokens up to and with one of the sequence."""
    number = next(at for at, node in enumerate(tree.nodes) if node.start <= place < node.start + node.length)
    before = [at for start, length in tree.path(number) for at in range(start, start + length)]
    return [*before, *range(tree.nodes[number].start, place + 1)]


@given(one=IDS, two=IDS)
def test_common_is_the_length_of_the_longest_common_beginning(one: list[int], two: list[int]) -> None:
    count = common_prefix_length(one, two)
    assert one[:count] == two[:count]
    assert count == min(len(one), len(two)) or one[count] != two[count]


@settings(max_examples=examples(200))
@given(rows=drawn.rows())
@example(rows=[TokenRow([5, 6], [IGNORE, 6])])
def test_what_is_learned_and_what_stands_before_it_are_those_of_the_rows(rows: list[TokenRow]) -> None:
    tree = build_tree(rows)
    wanted = Counter(
        (tuple(row.input_ids[:at]), label)
        for row in rows
        for at, label in enumerate(row.labels)
        if label != IGNORE and at
    )
    made: Counter[tuple[tuple[int, ...], int]] = Counter()
    for source, target, weight in zip(tree.source, tree.target, tree.weight, strict=True):
        made[(tuple(tree.ids[at] for at in branch_of(tree, source)), target)] += weight
    assert made == wanted
    assert tree.tokens == sum(len(row.input_ids) for row in rows)
    assert tree.supervised == wanted.total()
    for row, indices in zip(rows, tree.learned_places(rows), strict=True):
        found = [([tree.ids[at] for at in branch_of(tree, tree.source[one])], tree.target[one]) for one in indices]
        assert found == [(row.input_ids[:at], label) for at, label in enumerate(row.labels) if label != IGNORE and at]


@settings(max_examples=examples(200))
@given(rows=drawn.rows())
def test_nodes_fill_the_sequence_and_positions_count_along_the_branch(rows: list[TokenRow]) -> None:
    tree = build_tree(rows)
    assert [at for node in tree.nodes for at in range(node.start, node.start + node.length)] == [*range(len(tree.ids))]
    assert tree.positions == [len(branch_of(tree, place)) - 1 for place in range(len(tree.ids))]
    assert all(node.parent < number for number, node in enumerate(tree.nodes))
    assert len(tree.ids) <= tree.tokens


def test_a_beginning_stands_once_if_it_is_worth_it() -> None:
    for length, saved in ((MIN_SAVED_TOKENS // 3, 0), (MIN_SAVED_TOKENS, 2 * MIN_SAVED_TOKENS)):
        rows = [TokenRow([*range(length), 100 + row, 7], [IGNORE] * (length + 1) + [7]) for row in range(3)]
        tree = build_tree(rows)
        assert len(tree.ids) == 3 * (length + 2) - saved


def test_beginnings_of_beginnings_stand_once_too() -> None:
    system, one, two = [1] * 50, [2] * 40, [3] * 40
    rows = [TokenRow([*system, *more, end], [IGNORE] * 90 + [end]) for more in (one, two) for end in (8, 9)]
    tree = build_tree(rows)
    assert len(tree.ids) == 50 + 2 * 40 + 4
    assert sorted(len(tree.path(number)) for number in range(len(tree.nodes))) == [0, 1, 1, 2, 2, 2, 2]
    for row, end in zip(rows, tree.ends, strict=True):
        last = tree.nodes[end].start + tree.nodes[end].length - 1
        assert [tree.ids[at] for at in branch_of(tree, last)] == row.input_ids


def test_equal_rows_are_one_branch_with_their_number_as_weight() -> None:
    tree = build_tree([TokenRow([4, 5, 6], [IGNORE, IGNORE, 6])] * 3)
    assert tree.ids == [4, 5, 6]
    assert (tree.source, tree.target, tree.weight) == ([1], [6], [3])
    assert tree.tokens == 9
    assert tree.supervised == 3


def test_a_row_that_is_the_beginning_of_another_is_a_part_of_its_branch() -> None:
    long = [*range(60)]
    tree = build_tree([TokenRow(long[:40], [IGNORE] * 39 + [39]), TokenRow(long, [IGNORE] * 59 + [59])])
    assert tree.ids == long
    assert sorted(zip(tree.source, tree.target, strict=True)) == [(38, 39), (58, 59)]


def test_a_thousand_rows_that_each_begin_like_the_one_before_are_no_matter_of_recursion() -> None:
    # As short as a shared beginning may be, and just deeper than Python recurses.
    lengths = [30 + MIN_SAVED_TOKENS * number for number in range(sys.getrecursionlimit() + 50)]
    rows = [TokenRow([1] * length, [IGNORE] * (length - 1) + [1]) for length in lengths]
    assert len(build_tree(rows).ids) == lengths[-1]
