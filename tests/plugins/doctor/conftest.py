"""Makes `doctor_acts.py` a module that other processes can import: what `tests` stands for there is not known."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.copies import in_place_of_processes


@pytest.fixture(autouse=True, scope="module")
def acts() -> Iterator[ModuleType]:
    """Return it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("doctor_acts")
        sys.modules.pop("doctor_acts", None)


@pytest.fixture(autouse=True, scope="module")
def copies() -> Iterator[None]:
    """Let checks run in copies of a Python that has imported torch."""
    with in_place_of_processes():
        yield
