"""The text files of a model: their names, and the JSON objects in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import summarize_error

MODEL = "config.json"
GENERATION = "generation_config.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CARD = "README.md"


def read(file: Path) -> Mapping[str, Any]:
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


def write(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
