"""framework/util/cache.py: where it lies."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from framework.util.cache import cache_dir, of_the_cache


def test_it_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWORK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "framework"
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


@pytest.mark.parametrize(("place", "told"), [("own/data/x", True), ("", True), ("run", False), (None, False)])
def test_a_folder_that_cannot_be_made_or_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None, *, told: bool
) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "own"))
    refused = of_the_cache(OSError(errno.EACCES, "", None if place is None else str(tmp_path / place)))
    text = f"the cache folder {tmp_path / 'own'} cannot be written: Permission denied. Set FRAMEWORK_CACHE=FOLDER"
    assert str(refused) == (text if told else "None")
