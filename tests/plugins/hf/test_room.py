"""hf/room.py: keys and values with room are those that transformers keeps."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from framework_plugins.hf.room import RoomyLayer, with_room

ROWS, HEADS, SIZE = 3, 2, 4


def states(rows: int, tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(rows, HEADS, tokens, SIZE, generator=made) for _ in range(2))
    return one, two


def begun() -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        cache.update(*states(1, 5, layer), layer)
    return cache


@pytest.mark.parametrize("room", [0, 2, 9], ids=["none", "less than is needed", "more than is needed"])
def test_they_are_those_of_transformers(room: int) -> None:
    plain, roomy = begun(), begun()
    plain.batch_repeat_interleave(ROWS)
    with_room(roomy, ROWS, room)
    for step, tokens in enumerate([3, 1, 1]):
        for layer in range(2):
            new = states(ROWS, tokens, 10 * step + layer)
            for one, other in zip(plain.update(*new, layer), roomy.update(*new, layer), strict=True):
                assert torch.equal(one, other)
    assert roomy.get_seq_length() == plain.get_seq_length() == 10
    assert roomy.layers[0].get_mask_sizes(1) == plain.layers[0].get_mask_sizes(1)


def test_what_is_there_is_not_copied_again() -> None:
    cache = begun()
    with_room(cache, ROWS, 4)
    places = set()
    for step in range(4):
        keys, values = cache.update(*states(ROWS, 1, step), 0)
        places.add((keys.data_ptr(), values.data_ptr()))
    assert len(places) == 1
    keys, _ = cache.update(*states(ROWS, 1, 9), 0)
    assert (keys.data_ptr() in {key for key, _ in places}) is False
    assert keys.shape[-2] == 10


def test_the_beginning_is_left_as_it_was() -> None:
    cache = begun()
    used = copy.deepcopy(cache)
    with_room(used, 1, 8)
    used.update(*states(1, 3, 7), 0)
    assert torch.equal(cache.layers[0].keys, begun().layers[0].keys)
    assert all(type(layer) is DynamicLayer for layer in cache.layers)
    assert all(type(layer) is RoomyLayer for layer in used.layers)
