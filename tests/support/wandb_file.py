"""Read what an offline W&B run wrote. W&B 0.31 has no importable reader; its own is `wandb leet inspect --json`."""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAGIC = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_BLOCK = 32768  # the log is cut into blocks; the file's header counts into the first one
_PIECE = struct.Struct("<IHB")  # crc of kind and data, length, kind
_FULL, _LAST = 1, 4  # a record is one full piece, or a first one, middle ones and a last one


@dataclass(frozen=True)
class OfflineRun:
    """What one run logged; `tables` holds the last plain table of each name, with its columns and data.

    `resumed` says whether it resumes the run of its id; `artifacts` has the files of each by its name.
    """

    id: str
    resumed: bool
    name: str
    project: str
    group: str
    notes: str
    tags: tuple[str, ...]
    exit_code: int | None
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    alerts: list[tuple[str, str, str]]
    artifacts: dict[str, list[str]]


def read_offline_run(path: Path) -> OfflineRun:
    """Read a run-*.wandb file and its tables; of a killed run it is what reached the disk, without an exit code."""
    from wandb.proto.wandb_internal_pb2 import Record, RunRecord

    run, exit_code, history, alerts, artifacts = RunRecord(), None, [], [], {}
    merged: dict[str, dict[str, Any]] = {"config": {}, "summary": {}}
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            _apply(merged["config"], run.config.update, run.config.remove)
        elif kind in merged:
            _apply(merged[kind], getattr(record, kind).update, getattr(record, kind).remove)
        elif kind == "history":
            history.append(_apply({}, record.history.item))
        elif kind == "alert":
            alerts.append((record.alert.title, record.alert.text, record.alert.level))
        elif kind == "artifact":
            artifacts[record.artifact.name] = [entry.local_path for entry in record.artifact.manifest.contents]
        elif kind == "exit":
            exit_code = record.exit.exit_code
    config, summary = merged["config"], merged["summary"]
    config.pop("_wandb", None)  # W&B's own entry
    files = dict(item for row in (*history, summary) for item in _table_files(row))
    tables = {name: json.loads((path.parent / "files" / file).read_bytes()) for name, file in files.items()}
    about = run.run_id, run.resume, run.display_name, run.project, run.run_group, run.notes, tuple(run.tags)
    return OfflineRun(*about, exit_code, config, history, summary, tables, alerts, artifacts)


def _records(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_MAGIC):
        raise ValueError("not a W&B run file")
    record, position = b"", len(_MAGIC)
    while position + _PIECE.size <= len(data):
        if (room := _BLOCK - position % _BLOCK) < _PIECE.size:  # too little for a piece: the block ends in zeros
            position += room
            continue
        crc, length, kind = _PIECE.unpack_from(data, position)
        if (end := position + _PIECE.size + length) > len(data):
            return
        if zlib.crc32(data[position + 6 : end]) != crc:
            raise ValueError(f"damaged W&B record at byte {position}")
        record += data[position + _PIECE.size : end]
        position = end
        if kind in {_FULL, _LAST}:
            yield record
            record = b""


def _apply(values: dict[str, Any], updates: Iterable[Any], removals: Iterable[Any] = ()) -> dict[str, Any]:
    for item in updates:
        inner, key = _place(values, item)
        inner[key] = json.loads(item.value_json)
    for item in removals:
        inner, key = _place(values, item)
        inner.pop(key, None)
    return values


def _place(values: dict[str, Any], item: Any) -> tuple[dict[str, Any], str]:
    *parents, key = item.nested_key or [item.key]
    for parent in parents:
        values = values.setdefault(parent, {})
    return values, key


def _table_files(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, dict) and value.get("_type") == "table-file":
            yield prefix + key, value["path"]
        elif isinstance(value, dict):
            yield from _table_files(value, f"{prefix}{key}.")
