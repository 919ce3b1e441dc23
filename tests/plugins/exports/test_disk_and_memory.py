"""exports/disk_and_memory.py: what exports need, and a full disk that is seen before an export starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from framework import testing
from framework.api.protocols import ExportContext
from framework.api.records import ExportNeed
from framework.memory import Shape
from framework.util import host
from framework.util.errors import FrameworkError
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.disk_and_memory import VOCABULARY_BYTES, DiskNeed, export_needs
from tests.framework.memory.test_shape import LLAMA
from tests.support.shelf import Shelf, first, plan

GIB = 2**30
SHAPE = Shape.from_config(LLAMA)


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "framework_plugins.exports.disk_and_memory.host_memory",
        lambda: host.HostMemory(64 * GIB, 60 * GIB, limited=False),
    )


def told(folder: Path, *words: str) -> dict[str, ExportNeed]:
    return {need.name: need for need in export_needs(plan(folder, *words), SHAPE)}


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
        "framework_plugins.exports.disk_and_memory.host_memory",
        lambda: host.HostMemory(64 * GIB, 30 * GIB, limited=False),
    )
    assert 2.4 * SHAPE.total < told(tmp_path, *words)["merged"].memory < 3 * SHAPE.total
    monkeypatch.setattr(
        "framework_plugins.exports.disk_and_memory.host_memory",
        lambda: host.HostMemory(64 * GIB, 8 * GIB, limited=False),
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


CONFIG = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 512, "vocab_size": 1000, "architectures": ["LlamaForCausalLM"],
}  # fmt: skip


def test_all_files_that_lie_there_at_once_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    room = DiskNeed.after_merging(tmp_path, 1_000_000, 2_000_000, ["q8_0", "f16"])
    assert room.parts == {
        "converted": 2_000_000 + VOCABULARY_BYTES,
        "q8_0": 1_062_500 + VOCABULARY_BYTES,
        "f16": 2_000_000 + VOCABULARY_BYTES,
    }


def test_a_width_that_k_quants_cannot_pack_takes_more(tmp_path: Path) -> None:
    sizes = []
    for hidden in (256, 320):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": hidden}), encoding="utf-8")
        sizes.append(DiskNeed.after_merging(tmp_path, 1_000_000, 2_000_000, ["q4_k_m"]).parts["q4_k_m"])
    assert sizes[0] < sizes[1]


def test_before_merging_the_config_of_the_model_tells(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (base / "model.safetensors").touch()
    words = ["model=local", f"model.path={json.dumps(str(base))}", "exporter=[]"]
    plan = testing.plan(words, run_dir=tmp_path / "run")
    context = ExportContext(plan.run_dir, plan.run_dir / "checkpoint", plan.config, plan)
    parts = DiskNeed.before_merging(context, ["q4_k_m"], Dtype.fp16).parts
    assert parts.keys() == {"merged", "converted", "q4_k_m"}
    assert parts["merged"] == parts["converted"] - VOCABULARY_BYTES
    assert DiskNeed.before_merging(context, ["q4_k_m"], Dtype.fp32).parts["merged"] == 2 * parts["merged"]
    echo = testing.plan(["exporter=[]"], run_dir=tmp_path / "run")
    unknown = ExportContext(echo.run_dir, echo.run_dir, echo.config, echo)
    assert DiskNeed.before_merging(unknown, ["q4_k_m"], Dtype.fp16).parts == {}


def test_too_little_is_refused_and_enough_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = DiskNeed({"converted": 2**30, "q4_k_m": 2**29})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(
        FrameworkError, match=r"needs 1.50 GiB .*, and 1.00 GiB are free \(converted 1.00, q4_k_m 0.50\)"
    ):
        room.check(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**31))
    room.check(tmp_path)
