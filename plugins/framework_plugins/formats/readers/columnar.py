"""Parquet and Arrow, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from framework import FrameworkError
from framework.api import Row
from framework_plugins.formats.readers import values
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.json_stream import first_duplicate
from framework_plugins.formats.readers.opened import Opened

BATCH = 256
"""Rows that are made Python values at a time."""
IPC_FILE, FEATHER_V1 = b"ARROW1", b"FEA1"
"""How Arrow's file format and the first Feather begin; Arrow's stream format has no such mark."""


def read(file: DataFile) -> Iterator[Row]:
    """Read the rows of a Parquet file or of an Arrow file, in its file format or the stream format of `datasets`."""
    with Opened(file) as opened:
        yield from _rows(file, (_parquet_batches if file.kind == ".parquet" else _arrow_batches)(file, opened))


def parquet_rows(file: DataFile) -> int:
    """Return how many rows a Parquet file has, by its metadata."""
    return int(pq.read_metadata(str(file.path)).num_rows)


def _parquet_batches(file: DataFile, opened: Opened) -> Iterator[Any]:
    source = opened.seekable() if file.packing else pa.OSFile(str(file.path))
    with source, pq.ParquetFile(source) as parquet:
        _check_columns(file, parquet.schema_arrow)
        yield from parquet.iter_batches(batch_size=BATCH)


def _arrow_batches(file: DataFile, opened: Opened) -> Iterator[Any]:
    head = opened.stream.peek(len(IPC_FILE))
    if head.startswith(FEATHER_V1):
        raise file.error("the first version of Feather, which cannot hold lists; write it again with a newer library")
    # Mapped, for a writer may have put all rows into one batch.
    source = opened.seekable() if file.packing else pa.memory_map(str(file.path))
    if not head.startswith(IPC_FILE):
        with source, pa.ipc.open_stream(source) as reader:
            _check_columns(file, reader.schema)
            yield from reader
        return
    with source, pa.ipc.open_file(source) as reader:
        _check_columns(file, reader.schema)
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _check_columns(file: DataFile, schema: Any) -> None:
    if twice := first_duplicate(schema.names):
        raise file.error(f"two columns are called '{twice}': give each a name of its own")


def _rows(file: DataFile, batches: Iterator[Any]) -> Iterator[Row]:
    number = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # offsets of a damaged or forged file lead to memory that is not its own
            unsure = values.unsure(batch.schema)
            for start in range(0, batch.num_rows, BATCH):
                for cells in batch.slice(start, BATCH).to_pylist():
                    number += 1
                    fields, problem = values.row(cells, unsure)
                    yield Row(fields, file.where(f"row {number}"), problem)
    except FrameworkError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow raises all three for damage
        place = f"row {number + 1}" if number else ""
        first, *_ = (*str(error).strip().splitlines(), "no message")
        raise file.error(f"not a valid {file.kind} file ({first})", place) from error
