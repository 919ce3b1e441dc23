"""A full disk is seen before an export starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from framework import testing
from framework.api.protocols import ExportContext
from framework.util.errors import FrameworkError
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.gguf.convert.weights import Weights
from framework_plugins.exports.room import SPARE, Room

CONFIG = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 512, "vocab_size": 1000, "architectures": ["LlamaForCausalLM"],
}  # fmt: skip


def test_all_files_that_lie_there_at_once_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    room = Room.after_merging(tmp_path, Weights(1_000_000, "BF16"), ["q8_0", "f16"])
    assert room.parts == {"converted": 2_000_000 + SPARE, "q8_0": 1_062_500 + SPARE, "f16": 2_000_000 + SPARE}


def test_a_width_that_k_quants_cannot_pack_takes_more(tmp_path: Path) -> None:
    sizes = []
    for hidden in (256, 320):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": hidden}), encoding="utf-8")
        sizes.append(Room.after_merging(tmp_path, Weights(1_000_000, "F16"), ["q4_k_m"]).parts["q4_k_m"])
    assert sizes[0] < sizes[1]


def test_before_merging_the_config_of_the_model_tells(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (base / "model.safetensors").touch()
    words = ["model=local", f"model.path={json.dumps(str(base))}", "exporter=[]"]
    plan = testing.plan(words, run_dir=tmp_path / "run")
    context = ExportContext(plan.run_dir, plan.run_dir / "checkpoint", plan.config, plan)
    parts = Room.before_merging(context, ["q4_k_m"], Dtype.fp16).parts
    assert parts.keys() == {"merged", "converted", "q4_k_m"}
    assert parts["merged"] == parts["converted"] - SPARE
    assert Room.before_merging(context, ["q4_k_m"], Dtype.fp32).parts["merged"] == 2 * parts["merged"]
    echo = testing.plan(["exporter=[]"], run_dir=tmp_path / "run")
    unknown = ExportContext(echo.run_dir, echo.run_dir, echo.config, echo)
    assert Room.before_merging(unknown, ["q4_k_m"], Dtype.fp16).parts == {}


def test_too_little_is_refused_and_enough_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room({"converted": 2**30, "q4_k_m": 2**29})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(
        FrameworkError, match=r"needs 1.50 GiB .*, and 1.00 GiB are free \(converted 1.00, q4_k_m 0.50\)"
    ):
        room.check(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**31))
    room.check(tmp_path)
