"""Each test below has a device: `cpu` in the default suite, `cuda`, marked `gpu`, on a machine with a card."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from framework_gpu_tests.tiny import chat_rows, tiny_llama


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make two tests of each, unless it names its devices itself."""
    named = any("device" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "device" in metafunc.fixturenames and not named:
        metafunc.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


@pytest.fixture(autouse=True)
def card(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skip what needs a card if there is none, and leave the card's memory as it was."""
    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here: `python -m framework test-gpu` on a machine with one")
    yield
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny Llama whose heads have 32 features, the fewest that flash attention's kernels take."""
    return tiny_llama(tmp_path_factory.mktemp("base"), hidden_size=128)


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return sixteen rows as a file."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(16)), encoding="utf-8")
    return file
