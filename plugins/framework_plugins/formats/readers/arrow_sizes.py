"""How large the batches of an Arrow file become, by the descriptions before them: a compressed one may be a trap.

pyarrow unpacks a batch as a whole and has no limit. Each compressed buffer begins with its length, and the description
of the message, a flatbuffer (format/Message.fbs of Arrow), says where the buffers are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

Check = Callable[[str, int, int, int], None]
"""Is given where a batch is, its bytes unpacked and packed, and its rows."""
DICTIONARY_BATCH, RECORD_BATCH = 2, 3
HEADER_TYPE, HEADER, LENGTH, BUFFERS, COMPRESSION, DICTIONARY_DATA = 1, 2, 0, 2, 3, 1
"""Numbers of the fields of a message, of a batch, and of a dictionary."""


def check(source: Any, start: int, look: Check) -> None:
    """Check each compressed batch; damaged ones are left to the reader. The source is at its start afterwards.

    Args:
        source: the file.
        start: where its messages begin.
        look: refuses a batch.
    """
    batch_number = 0
    try:
        source.seek(start)
        for message in pa.ipc.MessageReader.open_stream(source):
            described = memoryview(message.metadata)
            if (batch := _batch(described)) is not None and message.body is not None:
                batch_number += 1
                body = memoryview(message.body)
                (rows,) = (
                    struct.unpack_from("<q", described, position)
                    if (position := _field(described, batch, LENGTH))
                    else (0,)
                )
                look(f"batch {batch_number}", sum(_unpacked_lengths(described, batch, body)), len(body), rows)
    except (pa.ArrowException, struct.error, OSError, ValueError):  # reading says what is wrong
        pass
    source.seek(0)


def _batch(message: memoryview) -> int | None:
    """Return the offset of a batch with compressed buffers; None if the message has none."""
    (root,) = struct.unpack_from("<I", message, 0)
    kind = _field(message, root, HEADER_TYPE)
    at = _table(message, root, HEADER)
    if not kind or at is None:
        return None
    if message[kind] == DICTIONARY_BATCH:
        at = _table(message, at, DICTIONARY_DATA)
    elif message[kind] != RECORD_BATCH:
        return None
    return at if at is not None and _field(message, at, COMPRESSION) else None


def _unpacked_lengths(message: memoryview, batch: int, body: memoryview) -> Iterator[int]:
    """Give the unpacked lengths of the buffers of a batch."""
    buffers = _table(message, batch, BUFFERS)
    if buffers is None:
        return
    (count,) = struct.unpack_from("<I", message, buffers)
    for index in range(count):
        offset, length = struct.unpack_from("<qq", message, buffers + 4 + 16 * index)
        if length > 8:  # noqa: PLR2004 - the length itself takes 8
            (unpacked,) = struct.unpack_from("<q", body, offset)
            yield length if unpacked < 0 else unpacked  # -1: not compressed


def _field(message: memoryview, table: int, field_number: int) -> int:
    """Return where a field of a table is; 0 if the table does not have it."""
    (back,) = struct.unpack_from("<i", message, table)
    (size,) = struct.unpack_from("<H", message, table - back)
    if 4 + 2 * field_number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", message, table - back + 4 + 2 * field_number)
    return table + offset if offset else 0


def _table(message: memoryview, table: int, field_number: int) -> int | None:
    """Return where the table or the list is that a field refers to."""
    if not (position := _field(message, table, field_number)):
        return None
    (offset,) = struct.unpack_from("<I", message, position)
    return int(position + offset)
