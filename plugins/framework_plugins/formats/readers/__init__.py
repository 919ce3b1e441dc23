"""Readers: a file of any known kind -> rows, one at a time, whatever its size.

A row that cannot be read is a `Row` with a `problem`. Where reading cannot continue, the readers raise `FrameworkError`
with the file and the line or row.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from framework.api import Row
from framework_plugins.formats.config import SampleBy
from framework_plugins.formats.readers import columnar, delimited, json_rows, plain_text
from framework_plugins.formats.readers.find import DataFile

READERS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), json_rows.read),
    **dict.fromkeys((".csv", ".tsv"), delimited.read),
    **dict.fromkeys((".parquet", ".arrow", ".feather"), columnar.read),
}

LINES = (".jsonl", ".ndjson", ".csv", ".tsv")
"""Kinds that have about one row per line."""


def read(file: DataFile, sample_by: SampleBy) -> Iterator[Row]:
    """Read the rows of one file; `sample_by` says what a row of a .txt file is."""
    if file.kind == ".txt":
        return plain_text.read(file, sample_by)
    return READERS[file.kind](file)


def rows_about(file: DataFile) -> int | None:
    """Return about how many rows a file has; None if it must be read to count them."""
    if file.packing or file.kind not in {*LINES, ".parquet"}:
        return None
    try:
        if file.kind == ".parquet":
            return columnar.parquet_rows(file)
        with file.path.open("rb") as stream:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
    except (OSError, pa.ArrowInvalid):  # reading the rows says what is wrong
        return None
