"""framework/util/files.py: a file or a folder is written whole, or stays as it was."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from framework.util.files import atomic_folder, describe_room, read_text, write_atomically, write_failure


def test_a_pipe_a_device_and_a_folder_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match="it is not a regular file"):
            read_text(file)


def test_it_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for text in ("first\n", "zwölf\r\n"):
        write_atomically(tmp_path / "told.json", text)
        assert (tmp_path / "told.json").read_bytes() == text.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


def test_what_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "told.json"
    write_atomically(file, "first")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "half \udc80")
    assert file.read_text(encoding="utf-8") == "first"
    write_atomically(file, "half \udc80", errors="replace")
    assert file.read_text(encoding="utf-8") == "half ?"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, "second")
    assert file.read_text(encoding="utf-8") == "half ?"
    assert list(tmp_path.iterdir()) == [file]


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace, rename = os.fsync, Path.replace, Path.rename

    def synced(number: int) -> None:
        done.append(Path(f"/proc/self/fd/{number}").readlink().name.partition(".json.")[0])
        sync(number)

    def replaced(path: Path, target: Path) -> Path:
        done.append(f"-> {target.name}")
        return (replace if path.is_file() else rename)(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "rename", replaced)
    write_atomically(tmp_path / "told.json", "1")
    assert done == ["told", "-> told.json", tmp_path.name]
    done.clear()
    with atomic_folder(tmp_path / "one", replace=True) as half:
        (half / "below").mkdir()
        (half / "below" / "weights").write_text("w", encoding="utf-8")
    assert done == ["weights", "below", "one.part", "-> one", tmp_path.name]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device"),
        (OSError(errno.EDQUOT, "quota"), "Disk quota exceeded"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "could not be written"),
        (OSError("4096 requested and 100 written"), "could not be written"),
        (RuntimeError("CUDA error: out of memory"), ""),
        (ValueError("inline_container"), ""),
        (FileNotFoundError(errno.ENOENT, "gone"), ""),
        (RuntimeError("not found (os error 2)"), ""),
    ],
)
def test_a_full_disk_is_known_by_what_libraries_say(error: Exception, reason: str) -> None:
    assert write_failure(error)[: len(reason)] == reason or reason in write_failure(error)
    assert bool(write_failure(error)) is bool(reason)


def test_what_is_missing_is_said_in_numbers(tmp_path: Path) -> None:
    assert re.fullmatch(r"[\d,.]+ MB are free there", describe_room(tmp_path / "new" / "one"))
    told = describe_room(tmp_path, 10**18)
    assert re.fullmatch(r"1,000,000,000,000\.0 MB are needed and .+ MB are free there: .+ MB are missing", told)


def full(target: Path) -> None:
    with atomic_folder(target) as half:
        (half / "weights").write_text("w", encoding="utf-8")
        raise OSError(28, "No space left on device")


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "one"
    with atomic_folder(target) as half:
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
    with atomic_folder(target) as half:
        (half / "weights").write_text("second", encoding="utf-8")
        target.mkdir()
        (target / "weights").write_text("first", encoding="utf-8")
    assert (target / "weights").read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_put_there_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "one"
    target.write_text("a file", encoding="utf-8")
    with pytest.raises(NotADirectoryError), atomic_folder(target) as half:
        (half / "weights").write_text("w", encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_takes_the_place_of_an_earlier_one_where_that_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "one"
    for text in ("first", "second"):
        (tmp_path / "one.part").mkdir()  # left by a process that was killed
        (tmp_path / "one.part" / "left").write_text("", encoding="utf-8")
        with atomic_folder(target, replace=True) as half:
            (half / text).write_text("w", encoding="utf-8")
        assert [path.name for path in target.iterdir()] == [text]
    assert list(tmp_path.iterdir()) == [target]
