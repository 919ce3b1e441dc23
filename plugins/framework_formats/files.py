"""`data=local_file`: JSON lines or a JSON array, read line by line so that an error names the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from framework.errors import FrameworkError
from framework.records import RawData, Row
from framework_formats.config import LocalFileConfig

SUFFIXES = (".jsonl", ".json", ".ndjson")


class LocalFile:
    """A source of rows in local files."""

    def __init__(self, config: LocalFileConfig) -> None:
        self.config = config

    def load(self) -> RawData:
        """Read all files of the config."""
        parts = (self.config.path, self.config.validation_path, self.config.prompts_path)
        train, validation, prompts = (read_rows(Path(part)) if part else [] for part in parts)
        return RawData(train, validation, prompts)


def read_rows(file: Path) -> list[Row]:
    """Read the rows of one file; blank lines are passed over.

    Raises:
        FrameworkError: the file is missing, of another kind, not UTF-8, or a line is no JSON object.
    """
    if not file.is_file():
        similar = sorted(path.name for path in file.parent.glob("*.json*")) if file.parent.is_dir() else []
        beside = f" Beside it: {', '.join(similar[:5])}." if similar else ""
        message = f"there is no data file {file}.{beside}"
        raise FrameworkError(message)
    if file.suffix not in SUFFIXES:
        message = f"{file} is of no kind that data=local_file reads: {', '.join(SUFFIXES)}"
        raise FrameworkError(message)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"{file}:{line}: not UTF-8 ({error.reason}); convert it: iconv -f LATIN1 -t UTF-8"
        raise FrameworkError(message) from error
    if text.lstrip().startswith("["):
        return _array(file, text)
    # Not splitlines(): it would break at U+2028 and others, which JSON strings may hold.
    lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    return [_row(file, number, _parse(file, number, line)) for number, line in lines]


def _array(file: Path, text: str) -> list[Row]:
    values = _parse(file, 1, text)
    return [_row(file, f"item {number}", value) for number, value in enumerate(values, start=1)]


def _parse(file: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{file}:{line + error.lineno - 1}: no JSON: {error.msg} at column {error.colno}"
        raise FrameworkError(message) from error


def _row(file: Path, place: int | str, value: Any) -> Row:
    if not isinstance(value, dict):
        message = f"{file}:{place}: a row is a JSON object with named fields, this one is a {type(value).__name__}"
        raise FrameworkError(message)
    return Row(value, f"{file.name}:{place}")
