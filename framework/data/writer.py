"""Writes a store: under another name that is changed when it is complete, so that runs side by side may share it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from framework import records
from framework.data.conversations import answered, around, asked, earlier, has_system, to_json
from framework.data.rows import Told
from framework.data.store import COLUMNS, ENDS, HALF, TEXTS, TEXTS_SCHEMA, TOKENS, TOKENS_SCHEMA, TOLD, Columns, Store
from framework.records import IGNORE, Example, TokenRow


@dataclass
class Writer:
    """Writes a store into `folder`, a batch at a time."""

    folder: Path
    told: Told = field(default_factory=Told)
    _columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in Columns.__annotations__})

    def __post_init__(self) -> None:
        """Open the files."""
        packed = pa.ipc.IpcWriteOptions(compression="lz4")
        self._open = ExitStack()  # closes once, the writers before their files
        files = [self._open.enter_context(pa.OSFile(str(self.folder / name), "wb")) for name in (TOKENS, TEXTS)]
        self._token_writer = self._open.enter_context(pa.ipc.new_file(files[0], TOKENS_SCHEMA))
        self._text_writer = self._open.enter_context(pa.ipc.new_file(files[1], TEXTS_SCHEMA, options=packed))

    def add(self, examples: Sequence[Example], rows: Sequence[TokenRow], part: int, source: int) -> None:
        """Write the examples of one part and source with their token rows, as one batch."""
        if not rows:
            return
        self._columns["part"].append(np.full(len(rows), part, np.int8))
        self._columns["source"].append(np.full(len(rows), source, np.int16))
        lengths = np.fromiter((len(row.input_ids) for row in rows), np.int32, len(rows))
        offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
        ids = np.fromiter(itertools.chain.from_iterable(row.input_ids for row in rows), np.int32, offsets[-1])
        labels = np.fromiter(itertools.chain.from_iterable(row.labels for row in rows), np.int32, offsets[-1])
        learned = labels != IGNORE
        self._note(examples, rows, lengths, offsets, learned)
        where = [example.where for example in examples]
        lists = [pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)) for values in (ids, learned)]
        places = pa.array(where, pa.string())
        self._token_writer.write_batch(pa.record_batch([*lists, places], schema=TOKENS_SCHEMA))
        texts = [
            where,
            [row.problem for row in rows],
            [asked(example) for example in examples],
            [answered(example) for example in examples],
            [earlier(example) for example in examples],
            [around(example) for example in examples],
            [to_json(example) for example in examples],
        ]
        columns = [pa.array(column, pa.string()) for column in texts]
        self._text_writer.write_batch(pa.record_batch(columns, schema=TEXTS_SCHEMA))

    def _note(
        self,
        examples: Sequence[Example],
        rows: Sequence[TokenRow],
        lengths: NDArray[np.int32],
        offsets: NDArray[np.int32],
        learned: NDArray[np.bool_],
    ) -> None:
        counts = np.concatenate([np.zeros(1, np.int32), np.cumsum(learned, dtype=np.int32)])
        begins = learned & ~np.concatenate([[False], learned[:-1]])
        begins[offsets[:-1][lengths > 0]] = learned[offsets[:-1][lengths > 0]]
        turns = np.concatenate([np.zeros(1, np.int32), np.cumsum(begins, dtype=np.int32)])
        self._columns["tokens"].append(lengths)
        self._columns["supervised"].append(np.diff(counts[offsets]))
        self._columns["turns"].append(np.diff(turns[offsets]))
        self._columns["proven"].append(np.array([not row.problem for row in rows]))
        self._columns["system"].append(np.array([has_system(example) for example in examples]))
        self._columns["plain"].append(np.array([example.text is not None for example in examples]))

    def finish(self) -> None:
        """Write what is known of each row, and what was told of them."""
        self.close()
        whole = {name: np.concatenate(parts) if parts else np.zeros(0, int) for name, parts in self._columns.items()}
        np.cumsum([len(part) for part in self._columns["part"]], dtype=np.int64).tofile(self.folder / ENDS)
        table = pa.table(whole)
        with pa.OSFile(str(self.folder / COLUMNS), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        records.save(self.told, self.folder / TOLD)

    def close(self) -> None:
        """Close the files."""
        self._open.close()


def write(folder: Path, fill: Callable[[Writer], None]) -> Store:
    """Write a store and put it at `folder`, whole or not at all; another run may be faster, then its store is taken."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=HALF, dir=folder.parent))
    try:
        writer = Writer(half)
        try:
            fill(writer)
            writer.finish()
        finally:
            writer.close()
        try:
            half.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Store(folder)
