"""framework/util/files.py: a file is written whole, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.util.files import HALF, write_whole


def test_it_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for text in ("first\n", "zwölf\r\n"):
        write_whole(tmp_path / "told.json", text, newline="")
        assert (tmp_path / "told.json").read_bytes() == text.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


def test_what_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "told.json"
    write_whole(file, "first")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "half \udc80")
    assert file.read_text(encoding="utf-8") == "first"
    write_whole(file, "half \udc80", errors="replace")
    assert file.read_text(encoding="utf-8") == "half ?"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(file, "second")
    assert file.read_text(encoding="utf-8") == "half ?"
    assert (tmp_path / f"told.json{HALF}").exists()  # of no use to anybody, and overwritten by the next one
