"""framework/data/split.py: a partition by whole groups that depends on the seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.data.split import held_out, spread

GROUPS = st.lists(st.integers(0, 30), max_size=80).map(np.array)


@given(groups=GROUPS, share=st.floats(0, 0.99), seed=st.integers(0, 2**32))
def test_near_duplicates_never_stand_on_both_sides(groups: np.ndarray, share: float, seed: int) -> None:
    own = np.ones(len(groups), bool)
    chosen = held_out(groups, own, share, seed)
    assert chosen.shape == groups.shape
    assert not set(groups[chosen]) & set(groups[~chosen])
    assert (chosen == held_out(groups, own, share, seed)).all()


@given(groups=GROUPS, share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_something_is_held_out_and_something_is_left_wherever_there_are_two_groups(
    groups: np.ndarray, share: float, seed: int
) -> None:
    chosen = held_out(groups, np.ones(len(groups), bool), share, seed)
    assert chosen.any() == (len(set(groups.tolist())) > 1)
    assert not len(groups) or not chosen.all()


@given(count=st.integers(2, 300), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_of_rows_that_are_all_different_exactly_the_share_is_held_out(count: int, share: float, seed: int) -> None:
    chosen = held_out(np.arange(count), np.ones(count, bool), share, seed)
    assert chosen.sum() == min(max(1, round(share * count)), count - 1)


@given(groups=GROUPS, seed=st.integers(0, 2**32))
def test_what_was_mixed_in_stays_in_training_with_all_that_resembles_it(groups: np.ndarray, seed: int) -> None:
    own = np.arange(len(groups)) % 3 > 0
    chosen = held_out(groups, own, 0.5, seed)
    assert own[chosen].all()
    assert not set(groups[~own]) & set(groups[chosen])


def test_another_seed_gives_another_split() -> None:
    groups, own = np.arange(50), np.ones(50, bool)
    assert len({tuple(np.flatnonzero(held_out(groups, own, 0.2, seed))) for seed in range(5)}) == 5


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_single_group_is_not_split(share: float) -> None:
    assert not held_out(np.zeros(8, int), np.ones(8, bool), share, 1).any()


def test_every_row_is_held_out_as_often_as_the_others() -> None:
    drawn = [held_out(np.arange(20), np.ones(20, bool), 0.25, seed) for seed in range(400)]
    times = np.sum(drawn, axis=0)
    assert 60 < times.min() <= times.max() < 145  # 100 expected, five standard deviations of 8.7


@given(count=st.integers(0, 400), seed=st.integers(0, 2**32 - 1))
def test_every_beginning_of_a_spread_order_lies_all_over(count: int, seed: int) -> None:
    order = spread(count, seed)
    assert sorted(order.tolist()) == list(range(count))
    assert (order == spread(count, seed)).all()
    for length in range(1, count + 1):
        chosen = np.sort(order[:length])
        gaps = np.diff(chosen, prepend=-1, append=count)
        assert gaps.max() <= 3 * count / length + 2


def test_the_seed_decides_where_a_spread_order_begins() -> None:
    assert len({int(spread(1000, seed)[0]) for seed in range(20)}) > 10
