"""exports/merge/number_format.py and rounding.py: 16 bits where they keep what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework import testing
from framework.api.plan import Plan
from framework.api.protocols import ExportContext
from framework_plugins.exports.config import Dtype, ParityConfig
from framework_plugins.exports.merge import number_format
from framework_plugins.exports.merge.number_format import rounding_loss
from framework_plugins.exports.parity.gate import Gate
from framework_plugins.exports.parity.reference import Reference
from framework_plugins.exports.parity.reference_logits import Placement
from tests.support.ggufs import tiny_model

Make = Callable[..., ExportContext]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return what makes the context of an export: a base in a number format, and an adapter of a size."""

    def made(size: float, dtype: str = "bfloat16") -> ExportContext:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        base = tiny_model(tmp_path / "base", "llama", dtype=dtype)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
        torch.manual_seed(1)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=size)
        adapted.save_pretrained(tmp_path / "adapter")
        words = [
            "model=local",
            f"model.path={json.dumps(str(base))}",
            "exporter=[]",
            "data=local_file",
            "data.path=x.jsonl",
        ]
        plan = testing.plan(words, run_dir=tmp_path / "run")
        return ExportContext(plan.run_dir, tmp_path / "adapter", plan.config, plan)

    return made


def gate(context: ExportContext, largest: float) -> Gate:
    """Return a gate that has asked the trained model already."""
    context.shared["parity"] = Reference([], Placement("cpu", torch.float32), frozenset(), [], largest, {})
    return Gate(ParityConfig(), testing.EchoModel(testing.plan([], run_dir=context.run_dir)), context)


def by_hand(context: ExportContext, dtype: torch.dtype) -> float:
    """Return the share that is lost of all updates, by peft's own sum."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plan: Plan = context.plan
    folder = plan.model.create().fetch(weights=True).folder
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    merged = PeftModel.from_pretrained(model, context.checkpoint).merge_and_unload().state_dict()
    changed: Mapping[str, torch.Tensor] = {name: w for name, w in merged.items() if not torch.equal(w, before[name])}
    error = sum(float((w.to(dtype).double() - w.double()).square().sum()) for w in changed.values())
    update = sum(float((w.double() - before[name].double()).square().sum()) for name, w in changed.items())
    return float((error / update) ** 0.5)


def test_what_is_lost_is_what_peft_and_a_rounding_say(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework_plugins.exports.merge.number_format.SAMPLED_MATRICES", 1000)
    context = make(1e-3)
    shares = []
    for dtype, torch_dtype in ((Dtype.bf16, torch.bfloat16), (Dtype.fp16, torch.float16)):
        share = rounding_loss(context.plan, context.checkpoint, dtype)
        assert share == pytest.approx(by_hand(context, torch_dtype), rel=1e-3)
        shares.append(share)
    assert shares[0] > 4 * shares[1] > 0
    assert rounding_loss(context.plan, context.checkpoint, Dtype.fp32) == 0


def test_a_few_matrices_tell_about_all(make: Make) -> None:
    context = make(1e-3)
    assert rounding_loss(context.plan, context.checkpoint, Dtype.bf16) == pytest.approx(
        by_hand(context, torch.bfloat16), rel=0.3
    )


def test_an_adapter_that_adds_nothing_loses_nothing(make: Make) -> None:
    context = make(0.0)
    assert rounding_loss(context.plan, context.checkpoint, Dtype.bf16) == 0


def test_fp16_is_taken_where_the_model_computes_nothing_near_its_end(make: Make) -> None:
    context = make(0.1)
    chosen = number_format.choose_for_folder(context, gate(context, largest=32_000))
    assert (chosen.dtype, chosen.note) == (Dtype.fp16, "in fp16, which keeps more of the update than bf16")
    assert chosen.remedy == ""
    chosen = number_format.choose_for_folder(context, gate(context, largest=33_000))
    assert chosen.dtype is Dtype.auto
    assert chosen.note == "in bf16: the model computes numbers up to 33,000, and fp16 ends at 65,504"
    assert number_format.choose_for_folder(context, None).dtype is Dtype.auto  # nobody knows what it computes


@pytest.mark.parametrize("base", ["bfloat16", "float16"])
def test_an_update_that_16_bits_cannot_tell_takes_32(make: Make, base: str) -> None:
    context = make(1e-5, base)
    chosen = number_format.choose_for_folder(context, gate(context, largest=1))
    assert chosen.dtype is Dtype.fp32
    assert chosen.note == f"in fp32: fp16 would round away {chosen.rounding_loss:.0%} of what was trained"
    assert chosen.rounding_loss > number_format.MAX_ROUNDING_LOSS
    assert "exporter.merged.dtype=fp32" in chosen.remedy
    files = number_format.choose_for_gguf(context, exact=False)
    assert (files.dtype, files.rounding_loss) == (Dtype.fp32, chosen.rounding_loss)


def test_a_base_in_fp32_or_fp16_keeps_its_format(make: Make) -> None:
    for base in ("float32", "float16"):
        context = make(0.1, base)
        assert number_format.choose_for_folder(context, gate(context, largest=1)).dtype is Dtype.auto


def test_files_are_made_of_fp16_unless_one_has_32_bits(make: Make) -> None:
    context = make(0.1)
    assert number_format.choose_for_gguf(context, exact=False).dtype is Dtype.fp16
    assert number_format.choose_for_gguf(context, exact=True).dtype is Dtype.fp32


def test_a_model_that_was_trained_whole_is_left_as_it_lies(make: Make, tmp_path: Path) -> None:
    context = make(0.1)
    whole = ExportContext(context.run_dir, tmp_path / "base", context.config, context.plan)
    assert number_format.choose_for_folder(whole, gate(whole, largest=1)).dtype is Dtype.auto
    assert number_format.choose_for_gguf(whole, exact=False).dtype is Dtype.fp16


def test_the_largest_number_is_that_of_any_layer(make: Make) -> None:
    from framework_plugins.exports.parity.check_rows import CheckRow
    from framework_plugins.exports.parity.reference_logits import trained_logits

    context = make(0.0)
    rows, held = [CheckRow("", (5, 6, 7, 8), (9,), stopped=False)], Placement("cpu", torch.float32)
    _, before, _ = trained_logits(context.plan, context.checkpoint, rows, held)
    file = context.plan.model.create().fetch(weights=True).folder / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "layers.0.mlp.down_proj" in name)
    save_file({**weights, name: weights[name] * 1e6}, file, metadata={"format": "pt"})
    _, after, _ = trained_logits(context.plan, context.checkpoint, rows, held)
    assert after > 1e3 * before > 0
