"""Tokenized rows on disk, in Arrow: written once, then memory-mapped, so a million rows need no more memory than a few.

A store is a folder: `tokens.arrow` (ids and what is learned, one row each), `texts.arrow` (question, answer, the
conversation, why a row is not proven; compressed), `columns.arrow` (a number or two for each row), `summary.json`. If
rows belong to groups with more than an answer, `groups.arrow` has the groups, and everything else is about a group: its
tokens are those of its answer. The files have the same batches. `writer.py` makes them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from framework.api import records
from framework.api.audit import Texts
from framework.api.records import IGNORE, Example, GroupedRows, TokenGroup, TokenRow
from framework.api.schema import Role
from framework.data.conversations import from_json
from framework.data.rows import ReadSummary
from framework.util.files import PART_SUFFIX

DAYS = 30
"""A store that no run has used for so long is removed when another one is written."""
TOKENS, TEXTS, COLUMNS, SUMMARY = "tokens.arrow", "texts.arrow", "columns.arrow", "summary.json"
GROUPS = "groups.arrow"
TOKENS_SCHEMA = pa.schema(
    [("input_ids", pa.list_(pa.int32())), ("learned", pa.list_(pa.bool_())), ("where", pa.string())]
)
TEXTS_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in ("where", "problem", "question", "answer", "earlier", "around", "rejected", "facts", "example")
    ]
)
GROUPS_SCHEMA = pa.schema(
    [
        (
            "group",
            pa.struct(
                [
                    ("rows", pa.list_(pa.struct([("ids", pa.list_(pa.int32())), ("learned", pa.list_(pa.bool_()))]))),
                    ("roles", pa.list_(pa.int8())),
                    ("facts", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))),
                    (
                        "arrays",
                        pa.list_(
                            pa.struct(
                                [
                                    ("name", pa.string()),
                                    ("width", pa.int32()),
                                    ("kind", pa.string()),
                                    ("values", pa.binary()),
                                ]
                            )
                        ),
                    ),
                ]
            ),
        )
    ]
)
COLUMNS_SCHEMA = pa.schema(
    [
        ("part", pa.int8()),
        ("source", pa.int16()),
        *((name, pa.int32()) for name in ("tokens", "supervised", "turns")),
        *((name, pa.bool_()) for name in ("proven", "system", "plain", "asks")),
        ("cluster", pa.int64()),
    ]
)
T = TypeVar("T")


@dataclass(frozen=True)
class RowColumns:
    """Facts about each row, as arrays of one length.

    Attributes:
        part: the `RowPart` of each row; none is left out yet.
        source: 0 for the run's own data, 1 and up for the sources of `data.mix`.
        tokens: number of tokens, in a group of its longest row.
        supervised: number of tokens that are learned; 0 of a group in which one of the answers has none.
        turns: number of runs of learned tokens, the assistants' turns.
        proven: whether the loss mask of the row is proven.
        system: whether the conversation has a system prompt.
        plain: whether it is plain text, which asks nothing.
        asks: whether it is a prompt, without learned tokens.
        cluster: a hash of its `format.cluster`; 0 if it has none.
    """

    part: NDArray[np.int8]
    source: NDArray[np.int16]
    tokens: NDArray[np.int32]
    supervised: NDArray[np.int32]
    turns: NDArray[np.int32]
    proven: NDArray[np.bool_]
    system: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    asks: NDArray[np.bool_]
    cluster: NDArray[np.int64]


class Rows(Sequence[T], Generic[T]):
    """Some rows of a store in a given order, each read on access; or blocks of rows, from a table."""

    def __init__(self, numbers: NDArray[np.int64], make: Callable[[Any], T]) -> None:
        self.numbers = numbers
        self.make = make

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Rows[T]: ...
    def __getitem__(self, index: int | slice) -> T | Rows[T]:
        if isinstance(index, slice):
            return Rows(self.numbers[index], self.make)
        row = self.numbers[index]
        return self.make(row if row.ndim else int(row))


class Store:
    """A store that was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with pa.OSFile(str(folder / COLUMNS)) as file, pa.ipc.open_file(file) as reader:
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        saved = pa.Table.from_batches(batches, COLUMNS_SCHEMA)
        self.columns = RowColumns(**{name: saved.column(name).to_numpy() for name in RowColumns.__annotations__})
        self._ends = np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)
        self.summary = records.load(ReadSummary, folder / SUMMARY)
        # Mapped: a training reads one row here and one there, in any order.
        self._tokens = pa.ipc.open_file(pa.memory_map(str(folder / TOKENS)))
        # Not mapped: whoever reads texts reads all of them, and pages that are mapped count as memory.
        self._texts = pa.ipc.open_file(pa.OSFile(str(folder / TEXTS)))
        self._last: tuple[int, Any] = (-1, None)
        groups = folder / GROUPS
        self._groups = pa.ipc.open_file(pa.memory_map(str(groups))) if groups.exists() else None

    def check(self) -> None:
        """Check that the files belong together.

        Raises:
            ValueError: they do not.
        """
        files = [self._tokens, self._texts, *([self._groups] if self._groups else [])]
        if any(file.num_record_batches != len(self._ends) for file in files):
            raise ValueError(f"{self.folder} is damaged")

    def __len__(self) -> int:
        """Return how many rows there are, of all parts."""
        return len(self.columns.part)

    def token_row(self, index: int) -> TokenRow:
        """Read the tokens of a row."""
        batch, offset = self._tokens_of(index)
        ids, learned = (_list_values(batch.column(column), offset) for column in (0, 1))
        labels = np.where(learned, ids, IGNORE)
        return TokenRow(ids.tolist(), labels.tolist(), batch.column(2)[offset].as_py())

    def token_group(self, index: int, limit: int | None = None) -> TokenGroup:
        """Read a group, each of its rows cut at `limit` tokens; a row that has nothing besides it is its own group."""
        record = self._group(index)
        if record is None:
            row = self.token_row(index)
            return row if limit is None or len(row.input_ids) <= limit else _cut_row(row, limit)
        where, rows = self.where(index), []
        for saved in record["rows"]:
            labels = [token if on else IGNORE for token, on in zip(saved["ids"], saved["learned"], strict=True)]
            rows.append(_cut_row(TokenRow(saved["ids"], labels, where), limit))
        arrays: dict[str, list[NDArray[Any]]] = {}
        for saved in record["arrays"]:
            flat = np.frombuffer(saved["values"], saved["kind"]).reshape(-1, saved["width"])
            row = rows[len(arrays.setdefault(saved["name"], []))]
            arrays[saved["name"]].append(flat[: len(row.learned)].copy())  # torch warns of one that cannot be written
        return GroupedRows(
            tuple(rows),
            tuple(Role(role) for role in record["roles"]),
            {fact["name"]: fact["value"] for fact in record["facts"]},
            {name: tuple(values) for name, values in arrays.items()},
        )

    def _group(self, index: int) -> dict[str, Any] | None:
        if self._groups is None:
            return None
        batch, offset = self._batch_and_offset(index)
        record: dict[str, Any] | None = self._groups.get_batch(batch).column(0)[offset].as_py()
        return record

    def total_tokens(self, limit: int | None = None) -> NDArray[np.int32]:
        """Return the tokens of each group, of all its rows, each row cut at `limit`."""
        tokens = self.columns.tokens if limit is None else np.minimum(self.columns.tokens, limit)
        if self._groups is None:
            return tokens
        total, start = tokens.copy(), 0
        for index in range(self._groups.num_record_batches):
            for record in self._groups.get_batch(index).column(0):
                if record.is_valid:
                    lengths = [len(row["ids"]) for row in record["rows"]]
                    total[start] = sum(length if limit is None else min(length, limit) for length in lengths)
                start += 1
        return total

    def example(self, index: int) -> Example:
        """Read the conversation of a row."""
        return from_json(self._text("example", index), self.where(index))

    def where(self, index: int) -> str:
        """Read the place of a row."""
        batch, offset = self._tokens_of(index)
        return str(batch.column(2)[offset].as_py())

    def _batch_and_offset(self, index: int) -> tuple[int, int]:
        """Return the batch of a row, and its number there."""
        # Batches differ in size, since they are limited by characters too.
        batch = int(np.searchsorted(self._ends, index, side="right"))
        return batch, index - (int(self._ends[batch - 1]) if batch else 0)

    def _tokens_of(self, index: int) -> tuple[Any, int]:
        batch, offset = self._batch_and_offset(index)
        return self._tokens.get_batch(batch), offset

    def _text(self, name: str, index: int) -> str:
        batch, offset = self._batch_and_offset(index)
        if self._last[0] != batch:  # a compressed batch is unpacked once for its neighbours
            self._last = (batch, self._texts.get_batch(batch))
        return str(self._last[1].column(name)[offset].as_py())

    def texts(self) -> Iterator[Texts]:
        """Read the texts of all rows in batches, without caching them."""
        with pa.OSFile(str(self.folder / TEXTS)) as file, pa.ipc.open_file(file) as reader:
            start = 0
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                names = ("where", "problem", "question", "answer", "earlier", "around", "rejected")
                facts = [json.loads(text) if text else {} for text in batch.column("facts").to_pylist()]
                where, problem, question, answer, earlier, around, rejected = (
                    batch.column(name).to_pylist() for name in names
                )
                yield Texts(start, where, problem, question, answer, earlier, around, rejected, facts)
                start += batch.num_rows

    def supervised_after(self, index: int, limit: int) -> int:
        """Count the learned tokens of a row from position `limit` on.

        If one of the answers of a group has none before it, all of the group are lost.
        """
        if self._group(index) is not None:
            rows, cut_group = self.token_group(index), self.token_group(index, limit)
            answers = [
                row for row, role in zip(cut_group.rows, cut_group.roles, strict=True) if role is not Role.prompt
            ]
            remaining = sum(row.supervised for row in cut_group.rows) if all(row.supervised for row in answers) else 0
            return sum(row.supervised for row in rows.rows) - remaining
        batch, offset = self._tokens_of(index)
        learned = _list_values(batch.column(1), offset)
        return int(learned[limit:].sum())


def _cut_row(row: TokenRow, limit: int | None) -> TokenRow:
    return TokenRow(row.input_ids[:limit], row.labels[:limit], row.where)


def _list_values(column: Any, index: int) -> NDArray[Any]:
    # Through the offsets: `column[index].as_py()` would make a Python object of each token.
    start, stop = column.offsets[index].as_py(), column.offsets[index + 1].as_py()
    values: NDArray[Any] = column.values.slice(start, stop - start).to_numpy(zero_copy_only=False)
    return values


def opened(folder: Path) -> Store | None:
    """Open a store if it exists, and update its time of use; a damaged one is removed."""
    if not folder.is_dir():
        return None
    try:
        store = Store(folder)
        # A machine that lost power may have left a folder whose files are not all there.
        store.check()
    except (OSError, ValueError, KeyError, pa.ArrowInvalid):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):  # the cache of somebody else, that may only be read
        os.utime(folder)
    return store


def remove_old(folder: Path) -> None:
    """Remove the stores below `folder` that no run has used for long."""
    for path in folder.iterdir() if folder.is_dir() else []:
        try:
            days = 1 if path.name.startswith(PART_SUFFIX) else DAYS  # left by a run that was killed
            is_old = time.time() - path.stat().st_mtime > days * 24 * 3600
        except OSError:  # another run removed it
            continue
        if is_old:
            shutil.rmtree(path, ignore_errors=True)
