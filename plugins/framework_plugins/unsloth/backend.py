"""`trainer=unsloth`: `trainer=hf` with a model that Unsloth loads. Nothing of transformers is imported before it."""

from __future__ import annotations

import dataclasses

import framework_plugins.unsloth.first as unsloth  # before all that it changes

import torch

from framework.api.plan import Plan
from framework.api.process_group import member
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.packing.eligibility import Way
from framework_plugins.unsloth import compare
from framework_plugins.unsloth.model import NOT_ON_A_GPU, UnslothModel


class Loading(HFBackend):
    """Opens models with Unsloth. What a GPU needs differently from a CPU is in `way`."""

    opens = UnslothModel

    def way(self, plan: Plan, machine: Hardware, empty: torch.nn.Module, attention: str) -> tuple[Way, str]:
        """Take no trees on a GPU, where Unsloth's attention ignores masks, and no caches, which are tuples there."""
        way, fact = super().way(plan, machine, empty, attention)
        if not unsloth.ON_GPU:
            return way, fact
        if way.packing is Packing.tree:
            fact = f"{Packing.pad.value}, not tree: {NOT_ON_A_GPU}"
            way = dataclasses.replace(way, packing=Packing.pad)
        return dataclasses.replace(way, one_beginning=False, branches=False, fast=False), fact


class UnslothBackend(Loading):
    """Opens models with Unsloth, after one step of it has been compared with plain transformers and peft."""

    def _opened(self, plan: Plan) -> HFModel:
        model = super()._opened(plan)
        if member() is None:  # the members of a group come after the process that opened the model first
            reason = compare.check(model, Loading)
            if reason:
                model.machine.facts["unsloth"] += f", not compared with {compare.PLAIN}: {reason}"
        return model
