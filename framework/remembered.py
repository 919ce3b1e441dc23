"""What runs on this machine have shown: how long rows of some data are, and how fast a device trains.

It lies in the user's cache, so that the plan of the next run knows it before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.cache import cache_dir
from framework.plan import Plan
from framework.records import DataResult, TokenRow

SAMPLE = 200
"""Rows of which the common beginning is taken."""
KEPT = 8
"""Speeds that are kept of each device, the latest."""


@dataclass(frozen=True)
class KnownRows:
    """Of the training rows as they are trained on: their number, tokens, learned tokens, 99th percentile and longest.

    `shared` are the tokens with which all of them begin, as far as a sample tells. `computed` is the share of the
    tokens that went through the model, where a training has told: rows that share their beginnings are computed once.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    p99: int
    longest: int
    shared: int = 0
    computed: float = 1.0


def of_data(data: DataResult, rows: Sequence[TokenRow]) -> KnownRows:
    """Return what the data stage found of the rows, and what a sample of them begins with."""
    limit = data.lengths.max_seq_length
    sizes = (min(data.lengths.p99, limit), min(data.lengths.longest, limit))
    some = [rows[number].input_ids for number in range(0, len(rows), max(1, len(rows) // SAMPLE))]
    first, last = min(some), max(some)  # what these two have in common, all between them have
    shared = next((at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), len(first))
    return KnownRows(data.train_rows, data.tokens, data.supervised_tokens, *sizes, shared=shared)


def remember_rows(plan: Plan, rows: KnownRows) -> None:
    """Keep them for the next plan with these data."""
    write_json(_rows_file(plan), asdict(rows))


def known_rows(plan: Plan) -> KnownRows | None:
    """Return what a data stage found with the same settings and the same files; None where none did."""
    kept = read_json(_rows_file(plan))
    try:
        return KnownRows(**kept) if kept else None
    except TypeError:  # of another version
        return None


def remember_speed(device: str, flops_per_second: float) -> None:
    """Keep how fast a training was."""
    file = cache_dir() / "plans" / "speeds.json"
    known = read_json(file)
    known[device] = [*known.get(device, []), flops_per_second][-KEPT:]
    write_json(file, known)


def speeds(device: str) -> list[float]:
    """Return how fast trainings on a device were, in FLOP/s."""
    return [float(speed) for speed in read_json(cache_dir() / "plans" / "speeds.json").get(device, [])]


def _rows_file(plan: Plan) -> Path:
    sections = {name: plan.config[name] for name in ("model", "data", "format", "seed")}
    path = Path(str(plan.config["data"].get("path", ""))).expanduser()
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    seen = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    limit = plan.training.max_seq_length
    key = hashlib.sha256(json.dumps([sections, seen, limit], sort_keys=True, default=str).encode()).hexdigest()
    return cache_dir() / "plans" / f"{key[:32]}.json"


def read_json(file: Path) -> dict[str, Any]:
    """Return what a file of the cache holds; nothing where it is not there."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or half of one from a machine that lost power
        return {}
    return dict(kept) if isinstance(kept, Mapping) else {}


def write_json(file: Path, kept: Mapping[str, Any]) -> None:
    """Write a file of the cache, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    half.write_text(json.dumps(kept), encoding="utf-8")
    half.replace(file)
