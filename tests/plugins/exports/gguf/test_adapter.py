"""The LoRA as a GGUF file, complete or absent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import pytest

from framework import testing
from framework.api.protocols import ExportContext
from framework.api.records import Artifact
from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.adapter import GgufAdapterExporter
from tests.support.bases import adapted
from tests.support.ggufs import tiny_model
from tests.support.twins import TWINS

NAME = "gguf_adapter/orders-LoRA.gguf"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("adapter") / "base", "qwen3")


def context(base: Path, run_dir: Path, *words: str) -> ExportContext:
    model = ["model=local", f"model.path={json.dumps(str(base))}", "name=orders"]
    plan = testing.plan([*model, "exporter=[gguf_adapter]", *words], run_dir=run_dir)
    return ExportContext(run_dir, run_dir / "checkpoint", plan.config, plan)


def export(given: ExportContext) -> list[Artifact]:
    config = given.plan.exporter["gguf_adapter"].config
    return GgufAdapterExporter(config).export(testing.EchoModel(given.plan), given)


def test_the_file_says_how_the_update_is_scaled(base: Path, tmp_path: Path) -> None:
    adapted(base, tmp_path / "checkpoint", r=4, lora_alpha=6, use_rslora=True)
    (artifact,) = export(context(base, tmp_path, "exporter.gguf_adapter.dtype=f32"))
    assert artifact == Artifact("gguf_adapter", NAME, (tmp_path / NAME).stat().st_size)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "gguf_adapter"}
    reader = gguf.GGUFReader(tmp_path / NAME)
    alpha = reader.get_field("adapter.lora.alpha")
    assert alpha is not None
    assert alpha.contents() == 6 * 4**0.5
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"F32"}
    first = {tensor.name: list(tensor.shape) for tensor in reader.tensors}
    assert first["blk.0.attn_k.weight.lora_a"] == [256, 4]
    assert first["blk.0.attn_k.weight.lora_b"] == [4, 128]


def test_what_is_no_plain_lora_leaves_nothing(base: Path, tmp_path: Path) -> None:
    adapted(base, tmp_path / "checkpoint", use_dora=True)
    with pytest.raises(FrameworkError, match="the adapter has the magnitudes of DoRA"):
        export(context(base, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def test_a_checkpoint_that_is_no_adapter_or_is_cut_off_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(FrameworkError, match=r"holds no adapter_model\.safetensors: only a LoRA training"):
        export(context(base, tmp_path))
    adapted(base, tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(FrameworkError, match=r"adapter_model\.safetensors is not a complete safetensors file"):
        export(context(base, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, r"was trained on .*another, and the base here is .*base"),
        (
            {"hidden_size": 128, "head_dim": 32},
            r"does not belong to .*: .* is 128 x 4, and .* of the base is .*, which needs 256 x 4",
        ),
    ],
)
def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path, other: dict[str, Any], said: str) -> None:
    adapted(tiny_model(tmp_path / "another", "qwen3", **other), tmp_path / "run" / "checkpoint")
    if other:
        file = tmp_path / "run" / "checkpoint" / "adapter_config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(settings | {"base_model_name_or_path": "base"}), encoding="utf-8")
    with pytest.raises(FrameworkError, match=said):
        export(context(base, tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint"}


def test_a_full_disk_is_seen_before_it_starts(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted(base, tmp_path / "checkpoint")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(FrameworkError, match=r"GB, and 0\.00 are free"):
        export(context(base, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def test_layers_that_a_lora_cannot_follow_are_refused_before_the_training(base: Path, tmp_path: Path) -> None:
    def check(folder: Path, *words: str) -> None:
        plan = context(folder, tmp_path / "run", *words).plan
        GgufAdapterExporter(plan.exporter["gguf_adapter"].config).check(testing.EchoModel(plan), plan)

    check(base)
    delta = TWINS["Qwen3.5, Qwen3.6"].write(tmp_path / "delta")  # its values are in another order in llama.cpp
    check(delta, "adapter.target_modules=[q_proj,up_proj]")
    told = r"stores .*out_proj.* in a way that a LoRA cannot follow: set exporter=\[gguf\], which merges it, or "
    with pytest.raises(FrameworkError, match=told) as caught:
        check(delta)
    check(delta, str(caught.value).rpartition(" or ")[2])
