"""Registers the HF backend and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from framework import Component, hookimpl
from framework.checkup import Checkup
from framework_hf import config
from framework_hf.checkups import checkups

if TYPE_CHECKING:
    from framework.plan import Plan

NOT_SWITCHES = frozenset(
    (
        "messages",
        "conversation",
        "conversations",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "sanitize_control_tokens",
    )
)
"""What the program itself gives to a chat template, or to the method that renders one."""


@hookimpl
def framework_models() -> Iterable[Component]:
    """Any folder or Hub id; the presets in conf/model build on it."""
    yield Component("local", config.LocalModelConfig, "framework_hf.models:LocalModel")


@hookimpl
def framework_quantizations() -> Iterable[Component]:
    """What bitsandbytes offers."""
    yield Component("none", config.NoQuantizationConfig, "framework_hf.quantizations:NoQuantization")
    yield Component("int8", config.Int8Config, "framework_hf.quantizations:Int8")
    yield Component("nf4", config.NF4Config, "framework_hf.quantizations:NF4")


@hookimpl
def framework_adapters() -> Iterable[Component]:
    """LoRA and its kin, and full fine-tuning."""
    yield Component("lora", config.LoraAdapterConfig, "framework_hf.adapters:Lora")
    yield Component("dora", config.DoraAdapterConfig, "framework_hf.adapters:Dora")
    yield Component("rslora", config.RsLoraAdapterConfig, "framework_hf.adapters:RsLora")
    yield Component("full", config.FullConfig, "framework_hf.adapters:Full")


@hookimpl
def framework_trainers() -> Iterable[Component]:
    """The backend."""
    yield Component("hf", config.HFTrainerConfig, "framework_hf.backend:HFBackend")


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Refuse what cannot work together."""
    for name in sorted(NOT_SWITCHES & plan.model.config.chat_template_kwargs.keys()):
        yield (
            f"model.chat_template_kwargs.{name}={plan.model.config.chat_template_kwargs[name]} is no switch of a chat "
            f"template, the program sets {name} itself: leave it out"
        )
    adapter, quantization = plan.adapter.config, plan.quantization.config
    if isinstance(adapter, config.FullConfig) and not isinstance(quantization, config.NoQuantizationConfig):
        yield (
            f"adapter=full trains all weights and quantization={plan.quantization.component.name} freezes them: "
            "set quantization=none, or adapter=lora"
        )
    trainer = plan.trainer.config
    if isinstance(trainer, config.HFTrainerConfig) and (trainer.device, trainer.dtype) == (
        config.Device.cpu,
        config.Dtype.fp16,
    ):
        yield "trainer.dtype=fp16 does not train with trainer.device=cpu: set trainer.dtype=auto|fp32|bf16"


@hookimpl
def framework_checkups() -> Iterable[Checkup]:
    """The hardware, and the libraries that train."""
    yield from checkups()
