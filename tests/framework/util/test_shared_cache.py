"""What is kept from one run of a process to the next."""

from collections.abc import Iterator

import pytest

from framework.util import shared_cache


@pytest.fixture(autouse=True)
def shut() -> Iterator[None]:
    """Leave nothing."""
    yield
    shared_cache.open_for(sweep=False)


def test_a_thing_is_made_once_for_a_key_in_a_sweep() -> None:
    shared_cache.open_for(sweep=True)
    made = [shared_cache.shared("x", key, object) for key in ("a", "a", "b", "b", "a")]
    assert made[0] is made[1]
    assert made[2] is made[3]
    assert len(set(map(id, made))) == 3


def test_outside_a_sweep_and_without_a_key_nothing_is_kept() -> None:
    assert shared_cache.shared("x", "a", object) is not shared_cache.shared("x", "a", object)
    shared_cache.open_for(sweep=True)
    assert shared_cache.shared("x", "", object) is not shared_cache.shared("x", "", object)


def test_the_end_of_a_sweep_frees_everything() -> None:
    shared_cache.open_for(sweep=True)
    shared_cache.keep("x", "a", 1, gpu_bytes=5)
    shared_cache.keep("y", "a", 2, gpu_bytes=2)
    assert shared_cache.gpu_bytes() == 7
    shared_cache.open_for(sweep=False)
    assert (shared_cache.find_kind("x"), shared_cache.gpu_bytes()) == (None, 0)


def test_asking_for_another_key_frees_what_was_kept() -> None:
    shared_cache.open_for(sweep=True)
    shared_cache.keep("x", "a", 1)
    assert shared_cache.find("x", "b") is None
    assert shared_cache.find_kind("x") is None


def test_a_key_tells_values_apart() -> None:
    assert shared_cache.key_of("a", {"x": 1, "y": 2}) == shared_cache.key_of("a", {"y": 2, "x": 1})
    assert shared_cache.key_of("a", "b") != shared_cache.key_of("ab")
