"""The merge of a real model, SmolLM2-135M: bit by bit what peft makes of it, and the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from framework import testing
from framework.api.protocols import ModelSource
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge.merging import merge
from tests.support.bases import adapted

pytestmark = pytest.mark.slow
TURNS = [{"role": "user", "content": "Name the capital of Peru, and two of its rivers, in one sentence."}]


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_a_merged_smollm2_is_bit_by_bit_what_peft_makes_of_it(kind: dict[str, Any], tmp_path: Path) -> None:
    plan = testing.plan(["model=smollm2_135m", "exporter=[]"], run_dir=tmp_path / "run")
    source: ModelSource = plan.model.create()
    base = source.fetch(weights=True).folder
    trained = adapted(base, tmp_path / "adapter", r=8, **kind)
    tokenizer = AutoTokenizer.from_pretrained(base)
    inputs = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        expected = trained(**inputs).logits
        said = trained.generate(**inputs, max_new_tokens=24, do_sample=False)
    merge(plan, tmp_path / "adapter", tmp_path / "fp32", dtype=Dtype.fp32)
    merge(plan, tmp_path / "adapter", tmp_path / "bf16")
    reference = trained.merge_and_unload().state_dict()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "fp32", dtype=torch.float32).eval()
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path / "bf16", dtype="auto").state_dict()
    assert {weight.dtype for weight in rounded.values()} == {torch.bfloat16}
    for name, weight in merged.state_dict().items():
        assert torch.equal(weight, reference[name]), name
        assert torch.equal(rounded[name], reference[name].bfloat16()), name
    with torch.no_grad():
        torch.testing.assert_close(merged(**inputs).logits, expected, rtol=1e-4, atol=1e-2)
        assert torch.equal(merged.generate(**inputs, max_new_tokens=24, do_sample=False), said)
