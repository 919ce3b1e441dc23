"""A model that Unsloth loads: in four bits or sixteen, with its adapter, and with its checkpointing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import framework_plugins.unsloth.import_unsloth as unsloth  # before all that it changes

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import AutoConfig

from framework import FrameworkError
from framework import Plan
from framework.api.training import TrainRun
from framework.api.training import TokenGroup
from framework_plugins.hf.load.adapt_model import name_base
from framework_plugins.hf.load.hub import fetch_weights
from framework_plugins.hf.settings.config import FullConfig, HFTrainerConfig, Int8Config, NF4Config, Packing
from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.load.loading import attention_implementation, without_weights
from framework_plugins.hf.load.model_parts import outside_text, patterns
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.train.step_reporter import Validation
from framework_plugins.hf.load.weight_files import check_files
from framework_plugins.unsloth import checkpoints, versions
from framework_plugins.unsloth.lora import lora_settings
from framework_plugins.unsloth.losses import PaddingFreePacker, UnslothLosses

NOT_ON_A_GPU = "Unsloth's attention ignores masks in training"
PADDING_FREE_MODELS = ("gemma", "llama", "mistral", "qwen2", "qwen3")
"""Kinds of models with forward functions of Unsloth's own, which separate rows that are one after another. It
leaves out gemma2 itself; other kinds, and what is not trained with LoRA, it computes with transformers' code."""


class UnslothModel(HFModel):
    """A base model that Unsloth loads, with the adapter of the run, or a base model whose weights are all trained."""

    losses_class = UnslothLosses if unsloth.ON_GPU else Losses

    def __init__(self, plan: Plan, config: HFTrainerConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(plan, config, *arguments, **options)
        trusted = self.plan.model.config.trust_remote_code
        self.base_config = AutoConfig.from_pretrained(self.place.folder, trust_remote_code=trusted)
        delegated = isinstance(plan.adapter.config, FullConfig) or isinstance(plan.quantization.config, Int8Config)
        supported = unsloth.ON_GPU and self.base_config.model_type in PADDING_FREE_MODELS and not delegated
        self.padding_free = supported and config.packing is Packing.tree
        if self.padding_free:
            self.machine.facts["packing"] = f"one row after another, not tree: {NOT_ON_A_GPU}"
        self.ready, note = checkpoints.find_published_weights(self.plan, self.place)
        self.machine.facts["unsloth"] = f"{versions.installed()} on a {unsloth.DEVICE_TYPE.upper()}"
        if note:
            self.machine.facts["4-bit weights"] = note

    @property
    def checkpointing(self) -> str | bool:
        """The value for Unsloth: its own kind also offloads activations to CPU memory."""
        return "unsloth" if self.machine.checkpointing else False

    def packer(self, losses: Losses, rows: int) -> Packer:
        """Return what cuts rows into passes of at most `rows` rows, without padding where Unsloth needs none."""
        packer = super().packer(losses, rows)
        return PaddingFreePacker(*dataclasses.astuple(packer)) if self.padding_free else packer

    def validate(self, validation: Sequence[TokenGroup], run: TrainRun) -> Validation:
        """Measure; answering has switched Unsloth's checkpointing off, which training mode alone does not undo."""
        result = super().validate(validation, run)
        if unsloth.ON_GPU:
            self.model.for_training(use_gradient_checkpointing=self.checkpointing)
        return result

    def weights(self) -> Path:
        """Bring the weights here: those that Unsloth quantized, if they are taken."""
        if self.ready is None:
            return super().weights()
        location = fetch_weights(checkpoints.source(self.ready.name))
        empty = without_weights(location, self.config, trust=self.plan.model.config.trust_remote_code)
        check_files(location, empty, values=True)
        return location.folder

    def load(self, folder: Path, peft_config: Any) -> Any:
        """Let Unsloth load weights and put the adapter on them.

        Raises:
            FrameworkError: it did not quantize them as it was asked to, or does not make adapters of this kind.
        """
        settings = None if peft_config is None else lora_settings(peft_config)
        with unsloth.logging_output():
            model = self._base(folder, full=settings is None)
            if self.forward_plan.branch_attention:
                install.use_branches(model)
            if settings is not None:
                model = self._adapted(model, settings)
        return model

    def _base(self, folder: Path, *, full: bool) -> Any:
        quantization = self.plan.quantization.config
        attention = attention_implementation(self.config.attention)
        model, _ = unsloth.FastLanguageModel.from_pretrained(
            str(folder),
            tokenizer_name=str(self.place.folder),  # a folder of trained weights has none
            # Rows above this length are cut off: the evaluators read longer ones than the training.
            max_seq_length=self._longest(),
            dtype=torch.float32 if full else self.machine.dtype,
            load_in_4bit=isinstance(quantization, NF4Config),
            load_in_8bit=isinstance(quantization, Int8Config),
            full_finetuning=full,
            use_gradient_checkpointing=self.checkpointing,
            trust_remote_code=self.plan.model.config.trust_remote_code,
            use_exact_model_name=True,
            random_state=self.plan.seed,
            **({} if attention is None else {"attn_implementation": attention}),
        )
        _check_quantized(model, quantization)
        model.config.use_cache = True  # as it was: it is saved with the weights, and answering goes by it
        return model

    def _longest(self) -> int:
        positions = getattr(self.base_config.get_text_config(), "max_position_embeddings", None) or 0
        if unsloth.ON_GPU and positions:  # for more of them Unsloth would stretch those that there are
            return int(positions)
        return max(self.plan.training.max_seq_length, positions)

    def _adapted(self, model: Any, settings: dict[str, Any]) -> Any:
        if outside := outside_text(model):  # rows of text teach it nothing
            settings["finetune_vision_layers"] = False
            if self.machine.device == "cpu":
                settings["exclude_modules"] = "|".join(patterns(outside))
        try:
            adapted = unsloth.FastLanguageModel.get_peft_model(
                model, use_gradient_checkpointing=self.checkpointing, random_state=self.plan.seed, **settings
            )
        except ValueError as error:
            raise FrameworkError(f"adapter.target_modules: {str(error).splitlines()[0]}") from error
        name_base(adapted, self.place)
        adapted.get_base_model().config.use_cache = True
        if self.forward_plan.fused_layers:  # on a CPU Unsloth leaves the layers as transformers and peft have them
            self.machine.facts["layers"] = install.install(adapted, along_branches=self.forward_plan.branch_attention)
        return adapted


def _check_quantized(model: Any, quantization: Any) -> None:
    kinds = {NF4Config: Linear4bit, Int8Config: Linear8bitLt}
    kind = kinds.get(type(quantization))
    if kind is not None and not any(isinstance(module, kind) for module in model.modules()):
        raise FrameworkError(
            "Unsloth did not quantize the weights as it was asked to: set trainer=hf, or quantization=none"
        )
