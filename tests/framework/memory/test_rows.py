"""framework/memory/rows.py: predictions for a table of measured runs."""

import csv
import io
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.memory.rows import PREDICTED, predict_file, settings_of, targets_of

TABLE = Path(__file__).with_name("peaks.csv")
PLAIN = list(csv.DictReader(io.StringIO(TABLE.read_text(encoding="utf-8"))))
FIRST = PLAIN[0]


def written(folder: Path, **changes: str) -> Path:
    file = folder / "rows.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(FIRST))
        writer.writeheader()
        writer.writerow(FIRST | changes)
    return file


def test_every_row_comes_back_with_four_more_columns(tmp_path: Path) -> None:
    made = list(csv.DictReader(io.StringIO(predict_file(TABLE))))
    assert [{name: row[name] for name in FIRST} for row in made] == PLAIN
    for row in made:
        allocated, reserved, low, high = (float(row[name]) for name in PREDICTED)
        assert allocated <= low <= reserved <= high
    again = tmp_path / "again.csv"
    again.write_text(predict_file(TABLE), encoding="utf-8")
    assert predict_file(again) == predict_file(TABLE)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden": "wide"}, "line 2: hidden=wide: a number above 0 is needed"),
        ({"micro_batch": "0"}, "line 2: micro_batch=0: a number above 0 is needed"),
        ({"method": "lorra"}, "line 2: method=lorra: unknown value 'lorra'. Did you mean 'lora'?"),
        ({"attention": "sdpaa"}, "Did you mean 'sdpa'?"),
        ({"lora_targets": "xyz"}, "lora_targets=xyz: letters of qkvogud"),
    ],
)
def test_what_is_not_known_is_told_with_its_line(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(FrameworkError) as error:
        predict_file(written(tmp_path, **changes))
    assert told in str(error.value)


def test_a_missing_column_and_a_missing_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("hidden,layers\n1,2\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"rows.csv: line 1: there is no column heads"):
        predict_file(tmp_path / "rows.csv")
    with pytest.raises(FrameworkError, match=r"none\.csv: cannot be read"):
        predict_file(tmp_path / "none.csv")


def test_columns_that_are_empty_have_defaults() -> None:
    settings = settings_of(
        FIRST | dict.fromkeys(("precision", "attention", "loss_impl", "optimizer", "lora_targets"), "")
    )
    assert settings.state_bytes == 8
    assert len(settings.targets) == 7


def test_targets_are_read_as_people_write_them() -> None:
    assert targets_of("qv") == ("q", "v")
    assert targets_of("qvo+mlp") == ("q", "v", "o", "gate", "up", "down")
    assert targets_of("c_attn") == ("q", "k", "v")
