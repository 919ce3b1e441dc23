"""Rows for the tiny model, and a training for which there is room."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pairs import pair_rows
from tests.support.short_memory import Made, trained
from tests.support.tiny import chat_rows


@pytest.fixture(scope="module")
def uneven_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty short rows and a long one."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    made = [*chat_rows(20), {"instruction": "Count. " * 7, "input": "", "output": "1, 2, 3"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return file


@pytest.fixture(scope="package")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with sixteen pairs, which no test may change."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text(pair_rows(16), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def untroubled(base: Path, uneven_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Return what gives a training for which there is room: made once for its words, to compare with."""

    @functools.cache
    def made(*words: str) -> Made:
        return trained(base, uneven_rows, tmp_path_factory.mktemp("untroubled"), *words)

    return made
