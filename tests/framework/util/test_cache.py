"""framework/util/cache.py: where it lies, and folders that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.util.cache import cache_dir, whole


def test_it_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWORK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "framework"
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def full(target: Path) -> None:
    with whole(target) as half:
        (half / "weights").write_text("w", encoding="utf-8")
        raise OSError(28, "No space left on device")


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "one"
    with whole(target) as half:
        (half / "weights").write_text("w", encoding="utf-8")
        assert not target.exists()
    assert (target / "weights").read_text(encoding="utf-8") == "w"
    assert list(target.parent.iterdir()) == [target]


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        full(tmp_path / "one")
    assert not list(tmp_path.iterdir())


def test_what_another_process_has_put_there_stays(tmp_path: Path) -> None:
    target = tmp_path / "one"
    with whole(target) as half:
        (half / "weights").write_text("second", encoding="utf-8")
        target.mkdir()
        (target / "weights").write_text("first", encoding="utf-8")
    assert (target / "weights").read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_put_there_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "one"
    target.write_text("a file", encoding="utf-8")
    with pytest.raises(NotADirectoryError), whole(target) as half:
        (half / "weights").write_text("w", encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]
