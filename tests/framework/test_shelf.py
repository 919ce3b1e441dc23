"""What is kept from one run of a process to the next."""

from collections.abc import Iterator

import pytest

from framework import shelf


@pytest.fixture(autouse=True)
def shut() -> Iterator[None]:
    """Leave nothing."""
    yield
    shelf.open_for(sweep=False)


def test_a_thing_is_made_once_for_a_key_in_a_sweep() -> None:
    shelf.open_for(sweep=True)
    made = [shelf.shared("x", key, object) for key in ("a", "a", "b", "b", "a")]
    assert made[0] is made[1]
    assert made[2] is made[3]
    assert len(set(map(id, made))) == 3


def test_outside_a_sweep_and_without_a_key_nothing_is_kept() -> None:
    assert shelf.shared("x", "a", object) is not shelf.shared("x", "a", object)
    shelf.open_for(sweep=True)
    assert shelf.shared("x", "", object) is not shelf.shared("x", "", object)


def test_the_end_of_a_sweep_frees_everything() -> None:
    shelf.open_for(sweep=True)
    shelf.keep("x", "a", 1, gpu_bytes=5)
    shelf.keep("y", "a", 2, gpu_bytes=2)
    assert shelf.gpu_bytes() == 7
    shelf.open_for(sweep=False)
    assert (shelf.find_kind("x"), shelf.gpu_bytes()) == (None, 0)


def test_asking_for_another_key_frees_what_was_kept() -> None:
    shelf.open_for(sweep=True)
    shelf.keep("x", "a", 1)
    assert shelf.find("x", "b") is None
    assert shelf.find_kind("x") is None


def test_a_key_tells_values_apart() -> None:
    assert shelf.key_of("a", {"x": 1, "y": 2}) == shelf.key_of("a", {"y": 2, "x": 1})
    assert shelf.key_of("a", "b") != shelf.key_of("ab")
