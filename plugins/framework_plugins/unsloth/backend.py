"""`trainer=unsloth`: `trainer=hf` with a model that Unsloth loads. Nothing of transformers is imported before it."""

from __future__ import annotations

import dataclasses

import framework_plugins.unsloth.import_unsloth as unsloth  # before all that it changes

import torch

from framework import Plan
from framework_plugins.lib.group_member import member
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.packing.eligibility import ForwardPlan
from framework_plugins.unsloth import compare
from framework_plugins.unsloth.lora import lora_settings
from framework_plugins.unsloth.model import NOT_ON_A_GPU, UnslothModel


class Loading(HFBackend):
    """Opens models with Unsloth. What a GPU needs differently from a CPU is in `forward_plan`."""

    model_class = UnslothModel
    tries_adapter = False  # Unsloth makes it
    packs_experts = False  # Unsloth packs those that it knows

    def forward_plan(
        self, plan: Plan, machine: Hardware, empty: torch.nn.Module, attention: str
    ) -> tuple[ForwardPlan, str]:
        """Take no trees on a GPU, where Unsloth's attention ignores masks, and no caches, which are tuples there."""
        chosen, fact = super().forward_plan(plan, machine, empty, attention)
        if not unsloth.ON_GPU:
            return chosen, fact
        if chosen.packing is Packing.tree:
            fact = f"{Packing.pad.value}, not tree: {NOT_ON_A_GPU}"
            chosen = dataclasses.replace(chosen, packing=Packing.pad, attention="")
        why = "Unsloth has kernels of its own on a GPU"
        return dataclasses.replace(
            chosen, prefix_reusable=False, branch_attention=False, fused_layers=False, unfused=why
        ), fact


class UnslothBackend(Loading):
    """Opens models with Unsloth, after one step of it has been compared with plain transformers and peft."""

    def _open_model(self, plan: Plan) -> HFModel:
        model = super()._open_model(plan)
        if (adapter := trained_config(plan)) is not None:
            lora_settings(adapter)  # refused before the data
        if member() is None:  # the members of a group come after the process that opened the model first
            reason = compare.check(model, Loading)
            if reason:
                model.machine.facts["unsloth"] += f", not compared with {compare.PLAIN}: {reason}"
        return model
