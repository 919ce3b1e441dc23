"""A tiny model and rows, which several test files train with."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.tiny import chat_rows, tiny_llama


@pytest.fixture(autouse=True, scope="session")
def kept_frozen() -> Iterator[None]:
    """Let a model that is closed leave frozen what was so before: three looks through all of that follow each."""
    from framework_plugins.hf import backend

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "gc", SimpleNamespace(freeze=lambda: None, unfreeze=lambda: None))
        yield


@pytest.fixture(autouse=True, scope="module")
def frozen() -> None:
    """Leave what earlier files imported and made out of what each model that is closed looks through."""
    gc.collect()
    gc.freeze()


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
