"""hf/train/compiled.py: a training with compiled layers is the training without, and what prevents them is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig

from framework import FrameworkError
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.settings.config import Switch
from framework_plugins.hf.train import compiled
from framework_plugins.hf.train.compiled import CompiledLayers, refusal
from framework_plugins.lib.auto_class import auto_class
from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened, train
from tests.support.twins import TWINS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, as it traces
PAD, ON = "trainer.packing=pad", "trainer.torch_compile=enabled"
WORDS = (
    pytest.param(
        ("quantization=nf4", "trainer.gradient_checkpointing=enabled", "trainer.dtype=fp32"), id="nf4, checkpointing"
    ),
    pytest.param(("trainer.dtype=bf16", "trainer.fused_layers=disabled"), id="bf16", marks=pytest.mark.slow),
)
SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in (
        "Qwen3.5, Qwen3.6",
        "SmolLM3",
        "Ministral 3",
        "Phi-4",
        "LFM2, LFM2.5",
        "Granite 4 hybrid",
        "Olmo 3",
        "Qwen3 MoE",
    )
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch trace layers and their backward passes, and leave out the compiler, which takes minutes."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    torch.compiler.reset()


def trained(tmp_path: Path, name: str, *words: str) -> tuple[Any, dict[str, str]]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(12)), encoding="utf-8")
    plan = make(tiny_llama(tmp_path / "base"), rows, tmp_path / name, PAD, *words)
    with opened(plan) as (model, data):
        result, _ = train(model, data, plan.run_dir)
        weights = [weight.detach().clone() for weight in model.model.parameters() if weight.requires_grad]
        return (result, torch.cat([weight.flatten() for weight in weights])), dict(model.facts)


@pytest.mark.parametrize("words", WORDS)
def test_a_training_with_compiled_layers_is_the_training_without(tmp_path: Path, words: tuple[str, ...]) -> None:
    (plain, weights), facts = trained(tmp_path, "plain", *words)
    assert compiled.FACT not in facts
    (made, found), facts = trained(tmp_path, "made", *words, ON)
    layers, graphs = facts[compiled.FACT].split(", ")
    assert layers == "2 layers"
    assert int(graphs.partition(" ")[0]) <= compiled.MOST_GRAPHS
    half = "trainer.dtype=bf16" in words
    assert made.train_loss == pytest.approx(plain.train_loss, rel=1e-2 if half else 1e-5)
    assert float((found - weights).norm() / weights.norm()) < (1e-2 if half else 1e-4)


def adapted(name: str) -> Any:
    """Return a tiny model of a family with an adapter, in training."""
    settings = TWINS[name].config(300)
    for part in (settings, *([settings["text_config"]] if "text_config" in settings else [])):
        part.update(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    model = auto_class(transformers, settings).from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    made = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"] if "MoE" in name else "all-linear")
    )
    install.install(made, along_branches=False)
    return made.train()


def rows_of(model: Any, length: int) -> Callable[[], None]:
    """Return a pass of two rows, one of them padded."""
    ids = torch.randint(3, 290, (2, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0

    def make() -> None:
        model.get_base_model().get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)

    return make


@pytest.mark.parametrize("name", ["Gemma 4 12B, 31B", "gpt-oss", *SLOW])
def test_the_layers_of_the_families_are_one_graph_for_two_lengths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model = adapted(name)
    layers = CompiledLayers(model)
    assert len(layers.layers) == 4
    assert not layers.problem([rows_of(model, 24), rows_of(model, 37)], nullcontext)


def test_a_graph_break_keeps_the_layers_as_they_are_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model = adapted("SmolLM3")
    for layer in CompiledLayers(model).layers:
        layer.register_forward_hook(lambda *_: torch._dynamo.graph_break())  # noqa: SLF001 - of a library, say
    problem = CompiledLayers(model).problem([rows_of(model, 24), rows_of(model, 37)], nullcontext)
    assert problem.startswith("SmolLM3DecoderLayer: graph break, ")


def test_a_compiler_that_gives_something_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Any, _: Any) -> Callable[..., Any]:
        return lambda *inputs: tuple(1.01 * part for part in graph(*inputs))

    monkeypatch.setattr(compiled, "BACKEND", wrong)
    with pytest.raises(FrameworkError, match="LlamaDecoderLayer: compiled it differs"):
        trained(tmp_path, "wrong", "trainer.fused_layers=disabled", ON)


def test_what_keeps_layers_from_being_compiled_is_told_before_anything_is_tried() -> None:
    asked: dict[str, Any] = {
        "switch": Switch.auto,
        "device": "cuda",
        "steps": 1000,
        "draws": False,
        "along_blocks": False,
    }
    found = [
        refusal(**asked | change)
        for change in (
            {"switch": Switch.disabled},
            {"device": "cpu"},
            {"draws": True},
            {"device": "cpu", "switch": Switch.enabled, "along_blocks": True},
            {"device": "cpu", "switch": Switch.enabled, "steps": 10},
        )
    ]
    assert found == [
        "trainer.torch_compile=disabled",
        "on a CPU it was slower",
        "answers are drawn in the steps, so there is no pass to compare before",
        "on a CPU attention along branches has other shapes in each pass",
        "",
    ]
