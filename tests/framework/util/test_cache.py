"""framework/util/cache.py: where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.util.cache import cache_dir


def test_it_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWORK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "framework"
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
