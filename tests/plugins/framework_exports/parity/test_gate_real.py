"""SmolLM2 after a short training: merged and as GGUF it says what was trained, with no near tie excused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import pipeline
from framework.compose import compose
from framework.plan import make_plan

# peft reads a name that transformers 5.24 deprecates.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")]


def test_in_ten_bits_nearly_every_token_and_every_greedy_text_is_that_of_the_training(tmp_path: Path) -> None:
    words = (
        "+experiment=quickstart", "stages=[data,train,export]", "trainer.max_steps=8", "trainer.device=cpu",
        "logger=[]", "exporter=[merged,gguf]", "exporter.merged.dtype=fp16",
        "exporter.merged.parity.exact_raw_top1=0.999", "exporter.gguf.quantizations=[f16]",
        "exporter.gguf.parity.exact_raw_top1=0.999",
    )  # fmt: skip
    pipeline.run(make_plan(compose(list(words)), run_dir=tmp_path / "run", overrides=words))
    found = json.loads((tmp_path / "run" / "parity.json").read_text(encoding="utf-8"))
    assert [each["format"] for each in found] == ["float16", "f16"]
    for each in found:
        assert each["top1"] >= 0.999
        assert each["answers"] == {"same": 12, "near": 0, "differs": 0}
