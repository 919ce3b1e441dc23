"""`data.encoding`: text of any encoding is read as the same text in UTF-8 is, and a wrong name or text is reported."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.api.records import RawData, Row
from framework_plugins.formats.config import LocalFileConfig
from framework_plugins.formats.files import LocalFile
from tests.support.data_files import content, written

ROWS = [{"a": "Größe “M”, 5 €", "b": "x"}, {"a": "–", "b": "ü" * 40_000}]
JAPANESE = [{"a": "東京", "b": "大阪"}]


def loaded(path: Path, encoding: str) -> RawData:
    return LocalFile(LocalFileConfig(path=str(path), encoding=encoding)).load()


def fields(rows: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    return [{"text": row["a"]} for row in rows] if name.startswith("r.txt") else rows


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.jsonl", "array.json", "object.json", "r.txt", "r.csv.gz"])
@pytest.mark.parametrize(("encoding", "rows"), [("cp1252", ROWS), ("utf-16", ROWS), ("Shift-JIS", JAPANESE)])
def test_text_of_every_kind_is_read_in_its_encoding(
    tmp_path: Path, name: str, encoding: str, rows: list[dict[str, str]]
) -> None:
    plain = name.removesuffix(".gz")
    utf8 = "".join(f"{row['a']}\n" for row in rows).encode() if plain == "r.txt" else content(plain, rows)
    encoded = utf8.decode().encode(encoding)
    file = written(tmp_path, name, gzip.compress(encoded) if name.endswith(".gz") else encoded)
    raw = loaded(file, encoding)
    assert [row.fields for row in raw.train] == fields(rows, name)
    assert raw.key != loaded(file, "latin-1").key if encoding == "cp1252" else raw.key


@pytest.mark.parametrize(
    ("text", "encoding", "problem"),
    [
        (b"a,b\n1,2\n3,\x81\n", "cp1252", r"r\.csv:3: not cp1252 \(.*\): set data\.encoding to another one$"),
        (b"a,b\n1,2", "utf-16", r"r\.csv:1: not utf-16 \((UTF-16 s|S)tream does not start with BOM\)"),
        ("a,b\n1,é".encode(), "cp1252", r"r\.csv:1: the text is UTF-8, not cp1252: leave out data\.encoding=cp1252$"),
        (b"\xef\xbb\xbfa,b\n1,2", "cp1252", r"r\.csv: the text is UTF-8: leave out data\.encoding=cp1252$"),
        (b"a,b\n1,\x81", "utf-8", r"r\.csv:2: not UTF-8 \(.*\): name its encoding, such as data\.encoding=cp1250"),
    ],
)
def test_text_of_another_encoding_is_reported(tmp_path: Path, text: bytes, encoding: str, problem: str) -> None:
    with pytest.raises(FrameworkError, match=problem):
        list(loaded(written(tmp_path, "r.csv", text), encoding).train)


def test_an_encoding_is_refused_where_no_text_has_one(tmp_path: Path) -> None:
    file = written(tmp_path, "r.parquet", ROWS)
    with pytest.raises(
        FrameworkError, match=r"^data\.encoding=cp1252 does nothing: there is no text file, only \.parquet"
    ):
        loaded(file, "cp1252")
    assert next(iter(loaded(file, "UTF8").train)) == Row(ROWS[0], "r.parquet:row 1")
