"""framework/memory/split.py: which device has which layer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.memory import devices_of_layers


@pytest.mark.parametrize(
    ("rest", "devices", "places"),
    [
        (2.0, 2, [0, 0, 1, 1, 1, 1, 1, 0]),
        (7.0, 2, [1, 1, 1, 1, 1, 1, 1, 0]),
        (0.0, 4, [0, 1, 1, 2, 2, 3, 3, 0]),
        (0.0, 1, [0] * 8),
    ],
)
def test_layers_are_in_stretches_around_which_the_first_device_is(rest: float, devices: int, places: list[int]) -> None:
    assert devices_of_layers([1.0] * 8, rest, devices) == places


@given(st.lists(st.floats(1, 9), min_size=1, max_size=40), st.floats(0, 100), st.integers(1, 9))
def test_no_device_has_more_than_its_share_and_a_layer(sizes: list[float], rest: float, devices: int) -> None:
    *inner, last = devices_of_layers(sizes, rest, devices)
    assert last == 0
    assert inner == sorted(inner)
    held = [rest + sizes[-1], *[0.0] * (devices - 1)]
    for place, size in zip(inner, sizes, strict=False):
        held[place] += size
    most = max((rest + sum(sizes)) / devices, rest + sizes[-1], sum(sizes[:-1]) / max(1, devices - 1))
    assert max(held) <= most + max(sizes) + 1e-6
