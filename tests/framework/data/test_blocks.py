"""Plain texts fill blocks, each whole and once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from framework.data.blocks import NOTHING, fill_blocks


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(8, 32))
def test_every_text_is_in_one_block_and_no_two_blocks_would_fit_into_one(lengths: list[int], size: int) -> None:
    table = fill_blocks(np.array(lengths), size)
    places = [[place for place in block.tolist() if place != NOTHING] for block in table]
    assert sorted(place for block in places for place in block) == list(range(len(lengths)))
    assert all(block == sorted(block) for block in places)
    filled = sorted(sum(min(lengths[place], size) for place in block) for block in places)
    assert filled[-1] <= size
    assert len(filled) == 1 or filled[0] + filled[1] > size


def test_a_text_is_put_where_it_leaves_the_least_room() -> None:
    assert fill_blocks(np.array([6, 5, 4, 3]), 10).tolist() == [[0, 2], [1, 3]]
