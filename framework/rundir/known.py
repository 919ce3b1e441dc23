"""What runs on this machine have shown: how long rows of some data are, and how fast a device trains.

It lies in the user's cache, so that the plan of the next run knows it before anything is loaded.
"""

from __future__ import annotations

import glob
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from framework.api.records import DataResult, TokenRow
from framework.api.selection import Selection
from framework.util import lock
from framework.util.cache import cache_dir, read_json, write_json
from framework.util.hashing import key_of

SAMPLED_ROWS = 200
"""Rows of which the common beginning is taken."""
MAX_SPEEDS = 8
"""Speeds that are kept of each device, the latest."""
MAX_FILES = 10_000
"""Files of a data set above which it is not looked at whether they are the same."""
TOKEN_BYTES, TURN_TOKENS, ROW_TOKENS = 4, 5, 10
"""Bytes of UTF-8 in a token of usual texts, in scripts of one to three bytes a letter, and what chat templates add to
each turn and each row; some begin with a system prompt of 20 tokens, others with none."""
LOCK_SECONDS = 10
"""How long it is waited for another process that writes."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownRows:
    """Of the training rows as they are trained on: their number, tokens, learned tokens, 99th percentile and longest.

    `shared` are the tokens with which all of them begin, as far as a sample tells. `computed` is the share of the
    tokens that went through the model, where a training has told: rows that share their beginnings are computed once.
    `prompts` are those that evaluators may ask.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    p99: int
    longest: int
    shared: int = 0
    computed: float = 1.0
    prompts: int = 0


@dataclass(frozen=True)
class FirstRows:
    """A sample of the first training rows of a source, as text in UTF-8.

    Attributes:
        rows: their number.
        turns: of their conversations.
        bytes: of all turns.
        learned_bytes: of the answers.
        read_bytes: of all fields.
        total: all rows of the source; 0 if only the first ones were read.
    """

    rows: int = 0
    turns: int = 0
    bytes: int = 0
    learned_bytes: int = 0
    read_bytes: int = 0
    total: int = 0

    def estimate(self, size: int, held_out: float, longest: int) -> KnownRows | None:
        """Return about what the rows will be; None if there are none, or their number cannot be estimated.

        Args:
            size: bytes of the files; 0 if that is not known.
            held_out: the share of the rows that is not trained on.
            longest: tokens of a row at most.
        """
        rows = round((self.total or size * self.rows / max(1, self.read_bytes)) * (1 - held_out))
        if not self.rows or not rows:
            return None
        mean = min(longest, (self.bytes / TOKEN_BYTES + self.turns * TURN_TOKENS) / self.rows + ROW_TOKENS)
        learned = min(1.0, self.learned_bytes / max(1, self.bytes)) * mean
        return KnownRows(rows, round(rows * mean), round(rows * learned), p99=longest, longest=longest)


def of_data(data: DataResult, rows: Sequence[TokenRow]) -> KnownRows:
    """Return what the data stage found of the rows, and what a sample of them begins with."""
    limit = data.lengths.max_seq_length
    sizes = (min(data.lengths.p99, limit), min(data.lengths.longest, limit))
    sizes = (data.block_tokens, data.block_tokens) if data.block_tokens else sizes
    samples = [rows[index].input_ids for index in range(0, len(rows), max(1, len(rows) // SAMPLED_ROWS))]
    smallest, largest = min(samples), max(samples)  # what these two have in common, all between them have
    shared = next(
        (position for position, (left, right) in enumerate(zip(smallest, largest, strict=False)) if left != right),
        len(smallest),
    )
    return KnownRows(data.train_rows, data.tokens, data.supervised_tokens, *sizes, shared=shared, prompts=data.prompts)


def update_known_rows(file: Path | None, data: DataResult, rows: Sequence[TokenRow]) -> KnownRows:
    """Return the result of the data stage with what a training found out about its rows; keep it for the next plan."""
    rows_now, earlier = of_data(data, rows), known_rows(file)
    if earlier and replace(earlier, computed=1.0) == rows_now:
        return earlier
    remember_rows(file, rows_now)
    return rows_now


def remember_rows(file: Path | None, rows: KnownRows) -> None:
    """Keep them in the file of `rows_file` for the next plan with these data."""
    if file:
        write_json(file, asdict(rows))


def known_rows(file: Path | None) -> KnownRows | None:
    """Return what a data stage found with the same settings and the same files; None if none did."""
    saved = read_json(file) if file else {}
    try:
        return KnownRows(**saved) if saved else None
    except TypeError:  # of another version
        return None


def remember_speed(device: str, flops_per_second: float) -> None:
    """Keep how fast a training was. Concurrent trials of a sweep write to one file, one after the other."""
    file = cache_dir() / "plans" / "speeds.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file_lock = lock.acquire(file.with_suffix(lock.NAME), seconds=LOCK_SECONDS)
    except OSError as error:
        log.info("%s is not cached: %s", file, error)
        return
    if file_lock is None:
        log.info("%s is not cached: another process has locked it", file)
        return
    try:
        by_device = read_json(file)
        by_device[device] = [*by_device.get(device, []), flops_per_second][-MAX_SPEEDS:]
        write_json(file, by_device)
    finally:
        lock.release(file_lock)


def speeds(device: str) -> list[float]:
    """Return how fast trainings on a device were, in FLOP/s."""
    return [float(speed) for speed in read_json(cache_dir() / "plans" / "speeds.json").get(device, [])]


def size_of(data: Selection) -> int:
    """Return the bytes of the files of this machine that the settings of the data name; 0 if there are none."""
    named = [value for value in data.settings.values() if isinstance(value, str) and value]
    return sum(size for name in named for _, size, _ in _files(name))


def rows_file(model: Selection, data: Selection, *settings: Any) -> Path | None:
    """Return where the rows of a run are kept: by its settings and the files that they name; None for too many.

    Args:
        model: its tokenizer and template count, which are not read yet.
        data: names the files.
        *settings: what else the rows depend on, as plain values.
    """
    named = [value for part in data.settings["mix"] for value in part.values() if isinstance(value, str)]
    named += [value for value in data.settings.values() if isinstance(value, str)]
    files = list(itertools.islice((file for name in named if name for file in _files(name)), MAX_FILES + 1))
    if len(files) > MAX_FILES:
        return None
    key = key_of(*settings, model.component.name, model.settings, sorted(files))
    return cache_dir() / "plans" / f"{key}.json"


def _files(name: str) -> Iterator[tuple[str, int, int]]:
    """Give each file that a setting names, itself, below it or by a pattern, with its size and time."""
    start = Path(name).expanduser()
    try:
        files: Iterator[Path]
        if start.is_dir():
            files = start.rglob("*")
        elif glob.has_magic(name):
            files = (Path(file) for file in glob.iglob(str(start), recursive=True))  # noqa: PTH207 - as `data.path` reads it
        else:
            files = iter([start])
        for file in itertools.islice(files, MAX_FILES + 1):
            status = file.stat() if file.is_file() else None
            if status:
                yield str(file), status.st_size, status.st_mtime_ns
    except (OSError, ValueError):  # no name of a file, or one that is just being removed
        return
