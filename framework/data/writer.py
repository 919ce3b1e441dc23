"""Writes a store: under another name that is changed when it is complete, so that runs side by side may share it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from framework.api import records
from framework.api.records import IGNORE, Example, TokenRow
from framework.data.conversations import answered, around, asked, earlier, has_system, to_json
from framework.data.rows import ReadSummary
from framework.data.store import (
    COLUMNS,
    COLUMNS_SCHEMA,
    SUMMARY,
    TEXTS,
    TEXTS_SCHEMA,
    TOKENS,
    TOKENS_SCHEMA,
    Store,
)
from framework.util.files import atomic_folder


@dataclass
class Writer:
    """Writes a store into `folder`, a batch at a time."""

    folder: Path
    summary: ReadSummary = field(default_factory=ReadSummary)

    def __post_init__(self) -> None:
        self._open = ExitStack()  # closes once, the writers before their files
        packed = pa.ipc.IpcWriteOptions(compression="lz4")  # tokens stay unpacked, since they are mapped
        self._tokens = self._file(TOKENS, TOKENS_SCHEMA)
        self._texts = self._file(TEXTS, TEXTS_SCHEMA, packed)
        self._columns = self._file(COLUMNS, COLUMNS_SCHEMA)

    def _file(self, name: str, schema: Any, options: Any = None) -> Any:
        file = self._open.enter_context(pa.OSFile(str(self.folder / name), "wb"))
        return self._open.enter_context(pa.ipc.new_file(file, schema, options=options))

    def add(self, examples: Sequence[Example], rows: Sequence[TokenRow], part: int, source: int) -> None:
        """Write the examples of one part and source with their token rows, as one batch."""
        if not rows:
            return
        lengths = np.fromiter((len(row.input_ids) for row in rows), np.int32, len(rows))
        offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
        ids = np.fromiter(itertools.chain.from_iterable(row.input_ids for row in rows), np.int32, offsets[-1])
        labels = np.fromiter(itertools.chain.from_iterable(row.labels for row in rows), np.int32, offsets[-1])
        learned = labels != IGNORE
        places = [example.where for example in examples]
        lists = [pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)) for values in (ids, learned)]
        _write(self._tokens, [*lists, places], TOKENS_SCHEMA)
        texts = [[make(example) for example in examples] for make in (asked, answered, earlier, around, to_json)]
        _write(self._texts, [places, [row.problem for row in rows], *texts], TEXTS_SCHEMA)
        supervised, turns = _counts(lengths, offsets, learned)
        known: list[Any] = [np.full(len(rows), part), np.full(len(rows), source), lengths, supervised, turns]
        known += [[not row.problem for row in rows], [has_system(example) for example in examples]]
        known += [[example.text is not None for example in examples], [_cluster(example) for example in examples]]
        _write(self._columns, known, COLUMNS_SCHEMA)

    def finish(self) -> None:
        """Write the summary of the rows."""
        self.close()
        records.save(self.summary, self.folder / SUMMARY)

    def close(self) -> None:
        self._open.close()


def _cluster(example: Example) -> int:
    if not example.cluster:
        return 0
    # blake2b, since `hash` of a text differs from process to process, and the store is shared. 64 bits, one column.
    return int.from_bytes(hashlib.blake2b(example.cluster.encode(), digest_size=8).digest(), signed=True)


def _write(writer: Any, columns: Sequence[Any], schema: Any) -> None:
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    writer.write_batch(pa.record_batch(arrays, schema=schema))


def _counts(
    lengths: NDArray[np.int32], offsets: NDArray[np.int32], learned: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Count the learned tokens of each row, and the runs of them; row `i` is `learned[offsets[i]:offsets[i + 1]]`."""
    begins = learned & ~np.concatenate([[False], learned[:-1]])
    first = offsets[:-1][lengths > 0]
    # A row's first token begins a run even if the row before it ends with a learned one.
    begins[first] = learned[first]
    sums = (np.concatenate([np.zeros(1, np.int32), np.cumsum(marks, dtype=np.int32)]) for marks in (learned, begins))
    supervised, turns = (np.diff(total[offsets]) for total in sums)
    return supervised, turns


def write(folder: Path, fill: Callable[[Writer], None]) -> Store:
    """Write a store and put it at `folder`, whole or not at all; another run may be faster, then its store is taken."""
    with atomic_folder(folder) as half:
        writer = Writer(half)
        try:
            fill(writer)
            writer.finish()
        finally:
            writer.close()
    return Store(folder)
