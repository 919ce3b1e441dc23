"""A tiny model and rows, which several test files train with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny import chat_rows, tiny_llama


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny Llama, which no test may change."""
    return tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with twelve rows, which no test may change."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
    return file
