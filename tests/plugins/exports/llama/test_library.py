"""llama.cpp is loaded once; where it is missing or broken, the message says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

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
def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_lib() -> None:
        raise RuntimeError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(module, "missing", lambda _: [])
    monkeypatch.setattr("importlib.import_module", lambda _: SimpleNamespace(get_lib=get_lib))
    with pytest.raises(FrameworkError, match="does not load: RuntimeError: libgomp"):
        module.library()


def test_it_is_loaded_once() -> None:
    assert module.library() is module.library()
