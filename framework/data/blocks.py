"""Blocks of one length that plain texts fill together: each lies in one block, whole.

A text is put into the block with the least room that is enough, the longest texts first: best-fit decreasing, which
leaves few blocks unfilled and cuts no text (Ding et al., arXiv 2404.10830).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOTHING = -1
"""Fills the rows of a block that has fewer texts than another."""


def fill_blocks(lengths: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Return the places of the texts in each block, (blocks, most texts in one), with `NOTHING` after the last.

    Args:
        lengths: tokens of each text; each counts as `size` at most.
        size: tokens of a block.
    """
    rooms: list[list[int]] = [[] for _ in range(size + 1)]  # by the room that is left, the blocks that have it
    room_bits = 0  # bit n is set if a block has room for n tokens
    blocks: list[list[int]] = []
    for index in np.argsort(-lengths.astype(np.int64), kind="stable").tolist():
        length = min(int(lengths[index]), size)
        if enough := room_bits >> length:
            room = length + (enough & -enough).bit_length() - 1  # the lowest bit: the least room
            block_index = rooms[room].pop()
            room_bits &= ~(0 if rooms[room] else 1 << room)
        else:
            room, block_index = size, len(blocks)
            blocks.append([])
        blocks[block_index].append(index)
        if room > length:
            rooms[room - length].append(block_index)
            room_bits |= 1 << (room - length)
    table = np.full((len(blocks), max(map(len, blocks), default=0)), NOTHING, np.int64)
    for block_index, block in enumerate(sorted(map(sorted, blocks))):
        table[block_index, : len(block)] = block
    return table
