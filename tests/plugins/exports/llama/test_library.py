"""llama.cpp is loaded once; where it is missing or broken, the message says what to install."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.exports.llama import library as module


@pytest.fixture
def anew() -> Iterator[None]:
    """Forget the library for a test."""
    module.library.cache_clear()
    yield
    module.library.cache_clear()


@pytest.mark.usefixtures("anew")
def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing", list)
    with pytest.raises(FrameworkError, match=r"GGUF files need the library llama-cpp-py-sync==[\d.]+: pip install"):
        module.library()


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(("library", "fix"), [("libgomp.so.1", " Install it: apt install libgomp1"), ("libb.so", "")])
def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, library: str, fix: str) -> None:
    message = f"{library}: cannot open shared object file"

    def get_lib() -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(module, "missing", lambda _: [])
    monkeypatch.setattr("importlib.import_module", lambda _: SimpleNamespace(get_lib=get_lib))
    with pytest.raises(FrameworkError, match=f"does not load: RuntimeError: {re.escape(message + fix)}$"):
        module.library()


@pytest.mark.usefixtures("anew")
def test_a_system_without_openmp_takes_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    bindings = MagicMock()
    bindings.get_lib.side_effect = [RuntimeError("libgomp.so.1: cannot open shared object file"), MagicMock()]
    monkeypatch.setattr(module, "missing", lambda _: [])
    monkeypatch.setattr("importlib.import_module", lambda _: bindings)
    monkeypatch.setattr(ctypes, "CDLL", lambda path, **_: loaded.append(path))
    module.library()
    spec = find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    assert [Path(path).parent for path in loaded] == [Path(spec.origin).with_name("lib")]


def test_it_is_loaded_once() -> None:
    assert module.library() is module.library()
