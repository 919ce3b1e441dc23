"""A folder that an exporter makes, complete or absent, and the names and JSON objects of the files in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import atomic_folder, summarize_error, write_failure

MODEL_CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = frozenset(
    (
        TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE, "chat_template.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model",
        "sentencepiece.bpe.model", "tekken.json",
    )
)  # fmt: skip
"""Files that are a tokenizer, in one form or another: they are taken from one folder, never mixed."""
README = "README.md"
RUN_CONFIG = "run_config.json"
"""The config of the run, without secrets. It also marks a folder as made by an exporter."""


@contextmanager
def new_folder(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder to write into; it becomes `folder` at the end, and is removed after an error.

    Args:
        folder: replaces an earlier export.
        config: of the run, as plain values without secrets; written beside what the exporter writes.

    Raises:
        FrameworkError: `folder` holds something else, or cannot be made.
        OSError: the disk is full.
    """
    if problem := folder_problem(folder):
        raise FrameworkError(problem)
    try:
        with atomic_folder(folder, replace=True) as unfinished:
            yield unfinished
            (unfinished / RUN_CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        if write_failure(error):  # the run says the same of every file
            raise
        file_name = f" ({error.filename})" if error.filename else ""
        raise FrameworkError(f"{folder} was not made: {error.strerror or error}{file_name}") from error


def folder_problem(folder: Path) -> str:
    """Return the problem with a folder that holds other files than an export; empty if it may be written."""
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / RUN_CONFIG).is_file()):
        return ""
    if not folder.exists():
        return ""
    return f"{folder} exists, and no exporter made it ({RUN_CONFIG} is missing): move it away, or choose another name"


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def read_json(file: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        FrameworkError: the file holds none.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FrameworkError(f"{file} cannot be read: {summarize_error(error)}") from error
    if not isinstance(value, dict):
        raise FrameworkError(f"{file} holds no JSON object")
    return value


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
