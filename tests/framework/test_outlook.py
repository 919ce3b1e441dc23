"""framework/outlook.py: a plan with what is known of it."""

from pathlib import Path

import pytest

from framework import FrameworkError
from framework.outlook import read_shape
from tests.framework.memory.test_shape import SMOLLM
from tests.support.shelf import Shelf

GIB = 2**30


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))


def test_a_folder_without_a_config_or_with_half_of_one_is_told(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, SMOLLM)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"config.json cannot be read: JSONDecodeError"):
        read_shape(shelf)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FrameworkError, match=r"has no config\.json"):
        read_shape(shelf)
