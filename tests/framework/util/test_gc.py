"""framework/util/gc.py: what is set aside comes back, and switches are left as they were found."""

from __future__ import annotations

import gc

import pytest

from framework.util.gc import set_aside, without_collecting


@pytest.mark.parametrize("enabled", [True, False])
def test_collecting_is_switched_off_and_left_as_it_was(*, enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with without_collecting():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_what_is_set_aside_comes_back_at_the_end_of_the_outermost() -> None:
    assert gc.get_freeze_count() == 0
    with set_aside():
        frozen = gc.get_freeze_count()
        assert frozen > 0
        with set_aside():
            assert gc.get_freeze_count() <= frozen
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
