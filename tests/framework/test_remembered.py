"""framework/remembered.py: what runs on this machine have shown."""

from pathlib import Path

import pytest

from framework.records import IGNORE, TokenRow
from framework.remembered import known_rows, of_data, remember_rows, remember_speed, speeds
from tests.support.results import EVEN
from tests.support.shelf import ROWS, plan

GIB = 2**30

pytestmark = pytest.mark.usefixtures("own_cache")


def test_rows_of_a_file_that_changed_are_not_known(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    words = plan(tmp_path, f"data.path={file}")
    remember_rows(words, ROWS)
    assert known_rows(words) == ROWS
    file.write_text("{}\n{}\n", encoding="utf-8")
    assert known_rows(words) is None


def test_the_common_beginning_of_the_rows_is_found() -> None:
    rows = [TokenRow([1, 2, 3, number], [IGNORE] * 4) for number in range(500)]
    assert of_data(EVEN, rows).shared == 3
    assert of_data(EVEN, [*rows, TokenRow([2], [2])][-3:]).shared == 0
    assert of_data(EVEN, rows[:1]).shared == 4


def test_what_another_version_kept_is_not_known(tmp_path: Path) -> None:
    words = plan(tmp_path)
    remember_rows(words, ROWS)
    (file,) = (tmp_path / "cache" / "plans").iterdir()
    file.write_text('{"rows": 1, "other": 2}', encoding="utf-8")
    assert known_rows(words) is None
    file.write_text("{", encoding="utf-8")
    assert known_rows(words) is None


def test_the_latest_speeds_are_kept() -> None:
    for speed in range(20):
        remember_speed("CPU", speed)
    assert speeds("CPU") == [float(speed) for speed in range(12, 20)]
    assert speeds("rtx4090") == []
