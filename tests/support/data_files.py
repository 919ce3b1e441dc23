"""Writes rows as files of every kind, with the libraries that users write them with."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from framework.api.records import Row
from framework_plugins.formats.config import SampleBy
from framework_plugins.formats.readers import read
from framework_plugins.formats.readers.find import DataFile, kind_of

Rows = Sequence[dict[str, Any]]
NAMES = (
    "r.jsonl", "r.ndjson", "lines.json", "array.json", "object.json", "r.csv", "r.tsv", "r.parquet", "file.arrow",
    "stream.arrow", "r.feather",
)  # fmt: skip


def content(name: str, rows: Rows) -> bytes:
    """Return the bytes of a file of this name; .gz or .zst at its end packs them."""
    if name.endswith(".gz"):
        return gzip.compress(content(name.removesuffix(".gz"), rows), mtime=0)
    if name.endswith(".zst"):
        return zstandard.compress(content(name.removesuffix(".zst"), rows))
    stem, kind = name.split(".")
    if kind in {"csv", "tsv"}:
        return _table(rows, "," if kind == "csv" else "\t")
    return _arrow(rows, kind, stem) if kind in {"parquet", "arrow", "feather"} else _json(rows, stem).encode()


def _json(rows: Rows, stem: str) -> str:
    if stem == "array":
        return json.dumps(rows, ensure_ascii=False, indent=1)
    if stem == "object":
        return json.dumps({"version": "1.0", "data": rows}, ensure_ascii=False)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _table(rows: Rows, delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(rows[0])
    writer.writerows([row[name] for name in rows[0]] for row in rows)
    return text.getvalue().encode()


def _arrow(rows: Rows, kind: str, stem: str) -> bytes:
    table, sink = pa.Table.from_pylist(list(rows)), pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(table, sink)
    else:
        new = pa.ipc.new_stream if stem == "stream" else pa.ipc.new_file
        with new(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def written(folder: Path, name: str, data: str | bytes | Rows) -> Path:
    """Write a text, bytes or rows to a file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        data = data.encode()
    file.write_bytes(data if isinstance(data, bytes) else content(name, data))
    return file


def data_file(path: Path) -> DataFile:
    """Describe a file as the source would that was given its path."""
    found = kind_of(path)
    assert found
    return DataFile(path, path.name, *found)


def rows_of(path: Path, sample_by: SampleBy = SampleBy.line) -> list[Row]:
    """Read all rows of a file."""
    return list(read(data_file(path), sample_by))
