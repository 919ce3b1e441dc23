"""exports/needs.py: what exports take, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api.records import ExportNeed
from framework.memory import Shape
from framework.util import host
from framework_plugins.exports.needs import needs
from tests.framework.memory.test_shape import LLAMA
from tests.support.shelf import Shelf, first, plan

GIB = 2**30
SHAPE = Shape.from_config(LLAMA)


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "framework_plugins.exports.needs.host_memory", lambda: host.HostMemory(64 * GIB, 60 * GIB, limited=False)
    )


def told(folder: Path, *words: str) -> dict[str, ExportNeed]:
    return {need.name: need for need in needs(plan(folder, *words), SHAPE)}


def test_a_merged_model_and_its_files(tmp_path: Path) -> None:
    found = told(tmp_path, "exporter=[adapter,merged,gguf,ollama]", "exporter.gguf.quantizations=[q4_k_m,q8_0]")
    assert list(found) == ["merged", "gguf", "ollama"]  # the adapter is the trained weights once more
    assert found["merged"].disk == 2 * SHAPE.total
    assert 12 * GIB < found["gguf"].disk < 13 * GIB  # 4.9 and 8.5 bits a weight of 8 billion
    assert found["gguf"].scratch == 4 * SHAPE.total
    assert found["ollama"].disk < GIB


def test_comparing_takes_the_model_once_more_in_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("exporter=[merged]",)
    assert 4.8 * SHAPE.total < told(tmp_path, *words)["merged"].memory < 5.5 * SHAPE.total
    monkeypatch.setattr(
        "framework_plugins.exports.needs.host_memory", lambda: host.HostMemory(64 * GIB, 30 * GIB, limited=False)
    )
    assert 2.4 * SHAPE.total < told(tmp_path, *words)["merged"].memory < 3 * SHAPE.total
    monkeypatch.setattr(
        "framework_plugins.exports.needs.host_memory", lambda: host.HostMemory(64 * GIB, 8 * GIB, limited=False)
    )
    assert 5 * 10**9 < told(tmp_path, *words)["merged"].memory < 5.1 * 10**9  # a file of the base, mapped
    more = ("exporter.merged.parity.check=false",)
    assert 5 * 10**9 < told(tmp_path, *words, *more)["merged"].memory < 5.1 * 10**9


def test_they_stand_in_the_plan(tmp_path: Path) -> None:
    _, forecast = first(Shelf(LLAMA), plan(tmp_path, "plan.gpu=rtx4090", "exporter=[adapter,merged]"))
    assert forecast.disk is not None
    assert forecast.disk.parts["merged"] == 2 * SHAPE.total
    assert forecast.disk.parts["adapter"] == forecast.disk.parts["checkpoint"]
    assert forecast.export_memory > 30 * GIB
