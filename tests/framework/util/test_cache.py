"""framework/util/cache.py: where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import FrameworkError
from framework.util.cache import cache_dir


def test_it_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWORK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "framework"
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("FRAMEWORK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_entry)
    with pytest.raises(FrameworkError, match="this user has no home folder: set HOME, or FRAMEWORK_CACHE=FOLDER"):
        cache_dir()
