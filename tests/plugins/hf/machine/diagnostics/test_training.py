"""The libraries that train are imported."""

from importlib.metadata import version

import pytest

from framework.api.diagnostic import State
from framework_plugins.hf.machine.diagnostics import training


@pytest.mark.parametrize("name", ["transformers", "peft", "trl"])
def test_a_library_that_can_be_imported_is_reported_with_its_version(name: str) -> None:
    found = getattr(training, name)(None)
    assert (found.state, found.version) == (State.ok, version(name))
    assert found.detail.endswith(" can be imported")
