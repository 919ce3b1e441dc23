"""framework/rundir/known.py: what runs on this machine have shown."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framework.api.records import IGNORE, TokenRow
from framework.rundir import known
from framework.rundir.known import known_rows, of_data, remember_rows, remember_speed, speeds
from framework.util import lock
from framework.util.cache import write_json
from tests.support.results import EVEN
from tests.support.shelf import ROWS, plan, rows_of

GIB = 2**30

pytestmark = pytest.mark.usefixtures("own_cache")


def test_rows_of_a_file_that_changed_are_not_known(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    words = plan(tmp_path, f"data.path={file}")
    remember_rows(rows_of(words), ROWS)
    assert known_rows(rows_of(words)) == ROWS
    file.write_text("{}\n{}\n", encoding="utf-8")
    assert known_rows(rows_of(words)) is None


def test_the_common_beginning_of_the_rows_is_found() -> None:
    rows = [TokenRow([1, 2, 3, number], [IGNORE] * 4) for number in range(500)]
    assert of_data(EVEN, rows).shared == 3
    assert of_data(EVEN, [*rows, TokenRow([2], [2])][-3:]).shared == 0
    assert of_data(EVEN, rows[:1]).shared == 4


def test_what_another_version_kept_is_not_known(tmp_path: Path) -> None:
    words = plan(tmp_path)
    remember_rows(rows_of(words), ROWS)
    (file,) = (tmp_path / "cache" / "plans").iterdir()
    file.write_text('{"rows": 1, "other": 2}', encoding="utf-8")
    assert known_rows(rows_of(words)) is None
    file.write_text("{", encoding="utf-8")
    assert known_rows(rows_of(words)) is None


def test_the_latest_speeds_are_kept() -> None:
    for speed in range(20):
        remember_speed("CPU", speed)
    assert speeds("CPU") == [float(speed) for speed in range(12, 20)]
    assert speeds("rtx4090") == []


def test_speeds_that_are_kept_side_by_side_are_all_there(own_cache: Path) -> None:
    """Another process has read the file and is about to write it, when this one keeps a speed."""
    file = own_cache / "plans" / "speeds.json"
    remember_speed("CPU", 1.0)
    other = lock.acquire(file.with_suffix(".lock"))
    assert other is not None
    with ThreadPoolExecutor() as threads:
        done = threads.submit(remember_speed, "CPU", 2.0)
        time.sleep(0.3)
        write_json(file, {"CPU": [1.0], "rtx4090": [3.0]})
        lock.release(other)
        done.result()
    assert (speeds("CPU"), speeds("rtx4090")) == ([1.0, 2.0], [3.0])
    assert list(file.parent.iterdir()) == [file]


def test_a_speed_is_not_kept_while_another_process_never_lets_go(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "LOCK_SECONDS", 0.05)
    remember_speed("CPU", 1.0)
    other = lock.acquire(own_cache / "plans" / "speeds.lock")
    assert other is not None
    remember_speed("CPU", 2.0)
    lock.release(other)
    assert speeds("CPU") == [1.0]


def test_a_cache_that_cannot_be_written_is_done_without(own_cache: Path) -> None:
    own_cache.write_text("a file", encoding="utf-8")
    remember_speed("CPU", 1.0)
    assert speeds("CPU") == []


def test_what_cannot_be_put_into_its_place_leaves_nothing(own_cache: Path) -> None:
    write_json(own_cache / "kept.json", {"a": 1})
    (own_cache / "folder.json").mkdir()
    write_json(own_cache / "folder.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(own_cache / "other.json", {"a": object()})
    assert {path.name for path in own_cache.iterdir()} == {"kept.json", "folder.json"}
    assert json.loads((own_cache / "kept.json").read_text(encoding="utf-8")) == {"a": 1}
