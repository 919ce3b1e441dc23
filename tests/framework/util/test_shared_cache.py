"""What is kept from one trial of a process to the next."""

import pytest

from framework.util.shared_cache import SharedCache


@pytest.fixture
def cache() -> SharedCache:
    """Return a cache that a sweep has opened."""
    made = SharedCache()
    made.open()
    return made


def test_a_value_is_made_once_for_a_key(cache: SharedCache) -> None:
    made = [cache.get_or_make("x", key, object) for key in ("a", "a", "b", "b", "a")]
    assert made[0] is made[1]
    assert made[2] is made[3]
    assert len(set(map(id, made))) == 3


def test_a_closed_cache_and_an_empty_key_keep_nothing(cache: SharedCache) -> None:
    assert cache.get_or_make("x", "", object) is not cache.get_or_make("x", "", object)
    cache.close()
    assert cache.get_or_make("x", "a", object) is not cache.get_or_make("x", "a", object)


def test_closing_drops_everything(cache: SharedCache) -> None:
    cache.keep("x", "a", 1, gpu_bytes=5)
    cache.keep("y", "a", 2, gpu_bytes=2)
    assert cache.gpu_bytes == 7
    cache.close()
    assert (cache.entries, cache.gpu_bytes) == ({}, 0)


def test_looking_for_another_key_drops_the_entry(cache: SharedCache) -> None:
    cache.keep("x", "a", 1)
    assert cache.find("x", "b") is None
    assert "x" not in cache.entries
