"""An adapter whose base is in MXFP4 is merged into that base dequantized to 16 bits."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Mxfp4Config

from framework.run import pipeline
from tests.support.mxfp4 import published_in_mxfp4
from tests.support.tiny import chat_rows
from tests.support.training import make

WORDS = (
    "quantization=nf4", "adapter.experts=all", "trainer.max_steps=2", "trainer.learning_rate=1e-2", "audit=[]",
    "trainer.dtype=fp32", "stages=[data,train,export]", "exporter=[merged,gguf]", "exporter.merged.dtype=fp32",
    "exporter.gguf.quantizations=[f32]",
)  # fmt: skip


def test_the_merged_folder_has_the_numbers_of_the_base_and_of_the_adapter(tmp_path: Path) -> None:
    base, rows, run = published_in_mxfp4(tmp_path / "model"), tmp_path / "rows.jsonl", tmp_path / "run"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
    pipeline.run(make(base, rows, run, *WORDS))
    plain = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, quantization_config=Mxfp4Config(dequantize=True)
    )
    before = {name: weight.clone() for name, weight in plain.named_parameters()}
    expected = dict(PeftModel.from_pretrained(plain, run / "checkpoint").merge_and_unload().named_parameters())
    merged = load_file(run / "merged" / "model.safetensors")
    assert {name for name in merged if name.endswith(("_blocks", "_scales"))} == set()
    stacks = [name for name in merged if name.endswith(("gate_up_proj", "down_proj"))]
    assert stacks
    for name in stacks:
        torch.testing.assert_close(merged[name].float(), expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(expected[name], before[name])
    assert "quantization_config" not in json.loads((run / "merged" / "config.json").read_text(encoding="utf-8"))
    assert [*(run / "gguf").glob("*.gguf")]
