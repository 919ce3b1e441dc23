"""Makes `doctor_acts.py` a module that other processes can import: what `tests` stands for there is not known."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(autouse=True, scope="module")
def acts() -> Iterator[ModuleType]:
    """Return it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("doctor_acts")
        sys.modules.pop("doctor_acts", None)
