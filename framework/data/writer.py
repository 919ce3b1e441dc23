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
from framework.api.records import IGNORE, Example, TokenGroup, TokenRow
from framework.api.schema import Role
from framework.data.conversations import ROW_TEXTS, has_system
from framework.data.rows import ReadSummary
from framework.data.store import (
    COLUMNS,
    COLUMNS_SCHEMA,
    GROUPS,
    GROUPS_SCHEMA,
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
        self._groups: Any = None
        self._batches: list[int] = []

    def _file(self, name: str, schema: Any, options: Any = None) -> Any:
        file = self._open.enter_context(pa.OSFile(str(self.folder / name), "wb"))
        return self._open.enter_context(pa.ipc.new_file(file, schema, options=options))

    def add(self, examples: Sequence[Example], groups: Sequence[TokenGroup], part: int, source: int) -> None:
        """Write the examples of one part and source with their groups of token rows, as one batch."""
        if not groups:
            return
        answers = [group.answer for group in groups]
        lengths, offsets, ids, learned = _flatten(answers)
        places = [example.where for example in examples]
        lists = [pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)) for values in (ids, learned)]
        _write(self._tokens, [*lists, places], TOKENS_SCHEMA)
        self._add_groups(groups)
        texts = [[make(example) for example in examples] for make in ROW_TEXTS]
        problems = [problem_of(group) for group in groups]
        _write(self._texts, [places, problems, *texts], TEXTS_SCHEMA)
        supervised, turns = _count_learned(lengths, offsets, learned)
        for index, group in enumerate(groups):
            if len(group.rows) > 1:
                lengths[index], supervised[index], turns[index] = _group_counts(group)
        columns: list[Any] = [np.full(len(groups), part), np.full(len(groups), source), lengths, supervised, turns]
        columns += [[not problem for problem in problems], [has_system(example) for example in examples]]
        columns += [
            [example.text is not None for example in examples],
            [all(role is Role.prompt for role in group.roles) for group in groups],
        ]
        columns += [[_cluster(example) for example in examples]]
        _write(self._columns, columns, COLUMNS_SCHEMA)

    def _add_groups(self, groups: Sequence[TokenGroup]) -> None:
        """Write the other rows of groups besides the answers; write no file if there are none."""
        records = [None if isinstance(group, TokenRow) else _group_record(group) for group in groups]
        if self._groups is None and any(records):
            self._groups = self._file(GROUPS, GROUPS_SCHEMA)
            for count in self._batches:
                _write(self._groups, [[None] * count], GROUPS_SCHEMA)
        self._batches.append(len(groups))
        if self._groups is not None:
            _write(self._groups, [records], GROUPS_SCHEMA)

    def finish(self) -> None:
        """Write the summary of the rows."""
        self.close()
        records.save(self.summary, self.folder / SUMMARY)

    def close(self) -> None:
        self._open.close()


def problem_of(group: TokenGroup) -> str:
    """Return the problem of the first row in a group that is not proven; empty if all are."""
    for row, role in zip(group.rows, group.roles, strict=True):
        if row.problem:
            return row.problem if role is Role.answer else f"the {role.name} turns: {row.problem}"
    return ""


def _group_record(group: TokenGroup) -> dict[str, Any]:
    return {
        "rows": [{"ids": row.input_ids, "learned": [label != IGNORE for label in row.labels]} for row in group.rows],
        "roles": [int(role) for role in group.roles],
        "facts": [{"name": name, "value": float(value)} for name, value in group.facts.items()],
        "arrays": [
            {"name": name, "width": array.shape[1], "kind": array.dtype.str, "values": array.tobytes()}
            for name, arrays in group.arrays.items()
            for array in arrays
        ],
    }


def _group_counts(group: TokenGroup) -> tuple[int, int, int]:
    """Return the tokens of the longest row, and the learned tokens and their runs of all rows.

    Without a learned token in one of its answers, nothing of a group is learned.
    """
    flat = (_flatten([row]) for row in group.rows)
    row_counts = [_count_learned(lengths, offsets, learned) for lengths, offsets, _, learned in flat]
    is_learned = all(
        row.supervised for row, role in zip(group.rows, group.roles, strict=True) if role is not Role.prompt
    )
    supervised, turns = (int(sum(counts[which][0] for counts in row_counts)) if is_learned else 0 for which in (0, 1))
    return max(len(row.input_ids) for row in group.rows), supervised, turns


def _flatten(
    rows: Sequence[TokenRow],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Return the lengths of rows, where each begins in the joined ones, and their joined ids and learned bits."""
    lengths = np.fromiter((len(row.input_ids) for row in rows), np.int32, len(rows))
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    ids = np.fromiter(itertools.chain.from_iterable(row.input_ids for row in rows), np.int32, offsets[-1])
    labels = np.fromiter(itertools.chain.from_iterable(row.labels for row in rows), np.int32, offsets[-1])
    return lengths, offsets, ids, labels != IGNORE


def _cluster(example: Example) -> int:
    if not example.cluster:
        return 0
    # blake2b, since `hash` of a text differs from process to process, and the store is shared. 64 bits, one column.
    return int.from_bytes(hashlib.blake2b(example.cluster.encode(), digest_size=8).digest(), signed=True)


def _write(writer: Any, columns: Sequence[Any], schema: Any) -> None:
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    writer.write_batch(pa.record_batch(arrays, schema=schema))


def _count_learned(
    lengths: NDArray[np.int32], offsets: NDArray[np.int32], learned: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Count the learned tokens of each row, and the runs of them; row `i` is `learned[offsets[i]:offsets[i + 1]]`."""
    begins = learned & ~np.concatenate([[False], learned[:-1]])
    starts = offsets[:-1][lengths > 0]
    # A row's first token begins a run even if the row before it ends with a learned one.
    begins[starts] = learned[starts]
    sums = (np.concatenate([np.zeros(1, np.int32), np.cumsum(marks, dtype=np.int32)]) for marks in (learned, begins))
    supervised, turns = (np.diff(total[offsets]) for total in sums)
    return supervised, turns


def write(folder: Path, fill: Callable[[Writer], None]) -> Store:
    """Write a store atomically to `folder`; if another run was faster, its store is used."""
    with atomic_folder(folder) as half:
        writer = Writer(half)
        try:
            fill(writer)
            writer.finish()
        finally:
            writer.close()
    return Store(folder)
