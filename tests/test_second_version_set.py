"""The versions that Unsloth asks for: `make test-unsloth` runs what is marked `unsloth` in an environment of its own.

Plain TRL 1.15 cannot train there on a CPU, because its fused head launches Triton; our loss does not go through it.
That `trainer=hf` does the main job there is shown by tests/plugins/unsloth/test_smollm2.py.
"""

from __future__ import annotations

from importlib.metadata import version

import pytest

from framework_plugins.unsloth.versions import TESTED

pytestmark = pytest.mark.unsloth


def test_this_is_the_second_set() -> None:
    assert {name: version(name) for name in TESTED} == TESTED
    assert version("triton")
