"""SmolLM2 after a short training: merged and as GGUF it says what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framework.config.compose import compose
from framework.plan.make import make_plan
from framework.run import pipeline

pytestmark = pytest.mark.slow


def found(tmp_path: Path, *more: str) -> list[dict[str, Any]]:
    """Train the quickstart's adapter for some steps, export it, and return what the gate found."""
    words = (
        "+experiment=quickstart", "stages=[data,train,export]", "trainer.device=cpu", "logger=[]",
        "exporter=[merged,gguf]", *more,
    )  # fmt: skip
    pipeline.run(make_plan(compose(list(words)), run_dir=tmp_path / "run", overrides=words))
    records: list[dict[str, Any]] = json.loads((tmp_path / "run" / "parity.json").read_text(encoding="utf-8"))
    return [each for each in records if each["against"] != "chat_template"]


def test_in_ten_bits_nearly_every_token_and_every_greedy_text_is_that_of_the_training(tmp_path: Path) -> None:
    records = found(tmp_path, "trainer.max_steps=64", "exporter.gguf.quantizations=[f16]")
    formats = [(each["format"], each["against"]) for each in records]
    assert formats == [("float16", "trained"), ("float16", "trained"), ("f16", "trained"), ("f16", "merged")]
    for each in records:
        assert each["top1"] >= 0.998
        assert each["top1_with_ties"] >= 0.999
        assert each["answers"] == {"same": 12, "near": 0, "differs": 0}


def test_a_training_that_16_bits_cannot_hold_is_exported_in_32(tmp_path: Path) -> None:
    short = ("trainer.max_steps=5", "trainer.learning_rate=1e-4", "exporter.gguf.quantizations=[q4_k_m]")
    records = found(tmp_path, *short)
    exact = [each for each in records if each["format"] != "q4_k_m"]
    assert [each["format"] for each in exact] == ["float32", "float32", "f32", "f32"]
    for each in exact:
        assert each["top1"] >= 0.999
        assert each["answers"] == {"same": 12, "near": 0, "differs": 0}
