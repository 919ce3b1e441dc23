"""Parquet and Arrow, a batch of rows at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from framework import FrameworkError
from framework.api import Row
from framework_plugins.formats.readers import arrow_sizes, values
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.json_stream import first_duplicate
from framework_plugins.formats.readers.opened import OpenFile

BATCH_ROWS = 256
"""Rows that are made Python values at a time."""
SLICE_BYTES = 1 << 26
"""Bytes of the rows that are made Python values at a time."""
MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO = 1 << 28, 200
"""Bytes that rows which are read at once always may have, and how many times larger than packed they may be."""
NUMBER_BYTES = 8
PAGE_HEADER_BYTES = 24
"""Bytes that hold the first three fields of a page's header."""
IPC_FILE, FEATHER_V1 = b"ARROW1", b"FEA1"
"""How Arrow's file format and the first Feather begin; Arrow's stream format has no such mark."""


def read(file: DataFile) -> Iterator[Row]:
    """Read the rows of a Parquet file or of an Arrow file, in its file format or the stream format of `datasets`."""
    with OpenFile(file) as opened:
        yield from _rows(file, (_parquet_batches if file.kind == ".parquet" else _arrow_batches)(file, opened))


def parquet_rows(file: DataFile) -> int:
    """Return how many rows a Parquet file has, by its metadata."""
    return int(pq.read_metadata(str(file.path)).num_rows)


def _parquet_batches(file: DataFile, opened: OpenFile) -> Iterator[Any]:
    source = opened.seekable() if file.packing else pa.OSFile(str(file.path))
    with source, pq.ParquetFile(source) as parquet:
        _check_columns(file, parquet.schema_arrow)
        yield from parquet.iter_batches(batch_size=rows_at_once(file, parquet.metadata, source))


def rows_at_once(file: DataFile, metadata: Any, source: Any) -> int:
    """Return how many rows to read at once, by how large the columns of each row group become.

    Raises:
        FrameworkError: one is larger than rows may be.
    """
    at_once = BATCH_ROWS
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        rows = max(group.num_rows, 1)
        for column in map(group.column, range(group.num_columns)):
            where = f"row group {index + 1}, column '{column.path_in_schema}'"
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            _check_sizes(file, where, unpacked, packed, rows)
            if column.num_values > rows * file.longest:
                raise file.too_long("a row", where)
            largest = NUMBER_BYTES
            if column.has_dictionary_page:  # each value is one of it, and may be all of it
                unpacked, packed = _page_sizes(source, column.dictionary_page_offset)
                largest = max(largest, unpacked)
                if unpacked > MAX_UNPACKED_RATIO * packed:
                    _check_sizes(file, where, unpacked * column.num_values, packed, rows)
            at_once = min(at_once, max(1, MIN_UNPACKED_BYTES * rows // (largest * max(column.num_values, 1))))
    return at_once


def _page_sizes(source: Any, offset: int) -> tuple[int, int]:
    """Return the bytes of a page, unpacked and packed, by its header: its kind and both, in Thrift's compact protocol.

    Damaged pages are left to the reader.
    """
    source.seek(offset)
    numbers = re.match(rb"\x15([\x80-\xff]*[^\x80-\xff])" * 3, source.read(PAGE_HEADER_BYTES), re.DOTALL)
    sizes = numbers.groups()[1:] if numbers else (b"\0", b"\0")
    unpacked, packed = (sum((byte & 0x7F) << 7 * index for index, byte in enumerate(size)) >> 1 for size in sizes)
    return unpacked, packed


def _check_sizes(file: DataFile, where: str, unpacked: int, packed: int, rows: int) -> None:
    """Refuse columns that unpack to more than rows may have: a file of a few kilobytes may unpack to any size.

    Raises:
        FrameworkError: the average row is longer than a row may be, or nothing but a trap is packed so well.
    """
    if unpacked > max(rows, 1) * file.longest:
        raise file.too_long("a row", where)
    if unpacked > max(MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed):
        raise file.error(f"unpacks from {packed:,} to {unpacked:,} bytes, which no rows of text do", where)


def _arrow_batches(file: DataFile, opened: OpenFile) -> Iterator[Any]:
    # The suffix does not tell: `datasets` writes the stream format into files that end in .arrow.
    head = opened.stream.peek(len(IPC_FILE))
    if head.startswith(FEATHER_V1):
        raise file.error("the first version of Feather, which cannot hold lists; write it again with a newer library")
    # Mapped, for a writer may have put all rows into one batch.
    source = opened.seekable() if file.packing else pa.memory_map(str(file.path))
    arrow_sizes.check(source, len(IPC_FILE) + 2 if head.startswith(IPC_FILE) else 0, partial(_check_sizes, file))
    if not head.startswith(IPC_FILE):
        with source, pa.ipc.open_stream(source) as reader:
            _check_columns(file, reader.schema)
            yield from reader
        return
    with source, pa.ipc.open_file(source) as reader:
        _check_columns(file, reader.schema)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))


def _check_columns(file: DataFile, schema: Any) -> None:
    if twice := first_duplicate(schema.names):
        raise file.error(f"two columns are called '{twice}': give each a name of its own")


def _rows(file: DataFile, batches: Iterator[Any]) -> Iterator[Row]:
    row_number = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # offsets of a damaged or forged file lead to memory that is not its own
            unsure = values.unsure_columns(batch.schema)
            for part in slices(batch, BATCH_ROWS):
                if part.num_rows == 1 and part.nbytes > file.longest:
                    raise file.too_long("the row", f"row {row_number + 1}")
                for cells in part.to_pylist():
                    row_number += 1
                    fields, problem = values.plain_row(cells, unsure)
                    yield Row(fields, file.where(f"row {row_number}"), problem)
    except FrameworkError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow raises all three for damage
        position = f"row {row_number + 1}" if row_number else ""
        message, *_ = (*str(error).strip().splitlines(), "no message")
        raise file.error(f"not a valid {file.kind} file ({message})", position) from error


def slices(batch: Any, rows: int) -> Iterator[Any]:
    """Give a batch in parts of at most `rows` rows, of fewer if they are large."""
    for start in range(0, batch.num_rows, rows):
        part = batch.slice(start, rows)
        if part.num_rows > 1 and part.nbytes > SLICE_BYTES:
            yield from slices(part, part.num_rows // 2)
        else:
            yield part
