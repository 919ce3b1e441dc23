"""Rows that are longer than `data.max_row_characters` are refused with their place, before they are tokenized."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from framework import testing
from framework.run import pipeline
from framework.util.errors import FrameworkError
from framework_plugins.formats.readers import opened

GOOD = [{"instruction": f"Add {number}", "output": str(number + 1)} for number in range(20)]
LONG = {"instruction": "a", "output": "x" * 3000}
ENDLESS = {"instruction": "a", "output": "x" * (2 << 20)}
LIMIT = "data.max_row_characters=2000"
LINES = "".join(json.dumps(row) + "\n" for row in GOOD)


def run(file: Path, *words: str) -> None:
    place = file.parent / "run"
    words = ("data=local_file", f"data.path='{file}'", LIMIT, "stages=[data]", *words)
    pipeline.run(testing.plan(list(words), run_dir=place))


def refused(file: Path, content: str | bytes, *words: str) -> str:
    """Return the error of a file that is refused, with nothing left behind."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FrameworkError) as caught:
        run(file, *words)
    assert not (file.parent / "run").exists()
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("r.jsonl", LINES + json.dumps(LONG) + "\n", "r.jsonl:21"),
        ("r.json", json.dumps([*GOOD, LONG]), "r.json:item 21"),
        ("r.csv", "instruction,output\na,b\na," + "x" * 3000 + "\n", "r.csv:3"),
        ("r.txt", "short\n" + "x" * 3000 + "\n", "r.txt:2"),
    ],
)
def test_a_long_row_is_a_bad_row_and_named(name: str, content: str, place: str, tmp_path: Path) -> None:
    line = refused(tmp_path / name, content, "audit=[]")
    assert line.startswith(f"{place}: the row has 3,00")
    assert line.endswith(f"more than {LIMIT}: split it into several rows, or raise the limit")


def test_a_long_row_is_left_out_as_other_bad_rows_are(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(LINES + json.dumps(LONG) + "\n", encoding="utf-8")
    run(tmp_path / "r.jsonl", "data.on_bad_row=skip", "audit=[]")
    assert json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))["bad_rows"] == 1


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("r.jsonl", LINES + json.dumps(ENDLESS) + "\n", "r.jsonl:21: the line is longer than"),
        ("r.json", json.dumps([*GOOD, ENDLESS]), "r.json:1: a value is longer than"),
        ("r.txt", "short\n" + "x" * (2 << 20) + "\n", "r.txt:2: the line is longer than"),
        ("r.jsonl.gz", gzip.compress(b"a" * 100_000_000, 1), "r.jsonl.gz:1: the line is longer than"),
    ],
)
def test_a_line_that_can_be_no_row_is_not_read_to_its_end(
    name: str, content: str | bytes, place: str, tmp_path: Path
) -> None:
    line = refused(tmp_path / name, content, "audit=[]")
    assert line.startswith(f"{tmp_path}/{place} 1,064,576 bytes")
    assert "data.max_row_characters" in line


def test_a_packed_table_that_unpacks_to_anything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "MIN_UNPACKED_BYTES", 1 << 20)
    content = gzip.compress(b"PAR1" + b"\0" * 20_000_000)
    assert "unpacks to more than 1,048,576 bytes" in refused(tmp_path / "r.parquet.gz", content)


def test_a_row_of_thousands_of_fields_is_refused_in_a_short_line(tmp_path: Path) -> None:
    row = {f"field{number}": "x" for number in range(5000)}
    line = refused(tmp_path / "r.jsonl", json.dumps(row) + "\n", "audit=[]", "data.max_row_characters=100000")
    assert "field19 and 4,980 others: if 'field0' asks and 'field1' answers, " in line
    assert len(line) < 1000
