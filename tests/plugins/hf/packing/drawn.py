"""Rows for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from framework.api.records import TokenRow
from framework_gpu_tests.drawn import LONG, SHORT, VOCABULARY, make

__all__ = ["LONG", "SHORT", "VOCABULARY", "make", "rows"]


def rows(most: int = 8, longest: int = LONG) -> st.SearchStrategy[list[TokenRow]]:
    """Return a strategy for rows."""
    return st.builds(make, st.integers(0, 2**32), st.integers(1, most), st.just(longest))
