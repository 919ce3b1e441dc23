"""What the tests of trackers share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wandb_alone import nobodys


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return where W&B looks for keys and settings: in a folder that has none, and nowhere else."""
    folder = tmp_path_factory.mktemp("home")
    with nobodys(monkeypatch, folder):
        yield folder
