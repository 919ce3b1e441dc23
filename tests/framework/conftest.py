"""What several tests of the core share."""

from pathlib import Path

import pytest

from tests.framework.memory.test_shape import LLAMA
from tests.support.shelf import Shelf


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the cache of the user be an empty folder."""
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def llama() -> Shelf:
    """Return the config of Llama 3.1 8B."""
    return Shelf(LLAMA)
