"""framework/memory/rows.py: predictions for a table of measured runs."""

import csv
import io
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.memory import Attention, Loss, Weights
from framework.memory.rows import PREDICTED, predict_file, settings_of, targets_of
from framework.memory.shape import LINEARS

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
        ({"hidden": "wide"}, "hidden=wide: a number above 0 is needed"),
        ({"hidden": "inf"}, "hidden=inf: a number above 0 is needed"),
        ({"micro_batch": "0"}, "micro_batch=0: a number above 0 is needed"),
        ({"lora_rank": "0"}, "lora_rank=0: a number above 0 is needed"),
        ({"method": "lorra"}, "method=lorra: unknown value 'lorra'. Did you mean 'lora'?"),
    ],
)
def test_a_row_that_cannot_be_predicted_is_left_empty_and_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], told: str
) -> None:
    file = written(tmp_path, **changes)
    with file.open("a", encoding="utf-8", newline="") as stream:
        csv.DictWriter(stream, list(FIRST)).writerow(FIRST)
    bad, good = csv.DictReader(io.StringIO(predict_file(file)))
    assert [bad[name] for name in PREDICTED] == [""] * 4
    assert all(good[name] for name in PREDICTED)
    assert capsys.readouterr().err.startswith(f"{file}: line 2: left empty: {told}")


def test_a_table_of_which_no_row_can_be_predicted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"rows\.csv: no row could be predicted"):
        predict_file(written(tmp_path, hidden="wide"))


def test_a_line_that_is_cut_off_is_told_as_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    with file.open("a", encoding="utf-8") as stream:
        stream.write("a,b,1\n")
    assert len(list(csv.DictReader(io.StringIO(predict_file(file))))) == 2
    assert "line 3: left empty: " in capsys.readouterr().err


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
    assert targets_of("all-linear") == targets_of("W_pack") == targets_of("") == LINEARS


@pytest.mark.parametrize(
    ("column", "value", "name", "wanted"),
    [
        ("attention", "sdpa_math", "attention", Attention.eager),
        ("attention", "flash_attention_2", "attention", Attention.flash),
        ("attention", "sdpa_cudnn", "attention", Attention.sdpa),
        ("precision", "fp16_amp_fp32_weights", "autocast", True),
        ("precision", "fp32", "autocast", False),
        ("quant", "int8", "weights", Weights.int8),
        ("grad_ckpt", "unsloth_offload", "offloaded", True),
        ("grad_ckpt", "unsloth_offload", "loss", Loss.chunked),
        ("grad_ckpt", "0", "checkpointing", False),
        ("grad_ckpt", "", "checkpointing", True),
        ("optimizer", "paged_adamw_8bit", "state_bytes", 0.0),
        ("optimizer", "adamw_torch_fused", "copies", False),
    ],
)
def test_names_are_read_by_the_words_in_them(column: str, value: str, name: str, wanted: object) -> None:
    assert getattr(settings_of(FIRST | {column: value}), name) == wanted
