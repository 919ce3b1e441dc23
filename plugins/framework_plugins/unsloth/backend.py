"""`trainer=unsloth`: `trainer=hf` with a model that Unsloth loads. Nothing of transformers is imported before it."""

from __future__ import annotations

import dataclasses

import framework_plugins.unsloth.first  # noqa: F401 - before all that it changes

import torch

from framework.api.plan import Plan
from framework.api.process_group import member
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.config import Packing
from framework_plugins.hf.hardware import Hardware
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.packing.admits import Way
from framework_plugins.unsloth import compare
from framework_plugins.unsloth.model import UnslothModel

NOT_ON_A_GPU = "Unsloth's attention ignores masks in training"


class Loading(HFBackend):
    """Opens models with Unsloth. What a GPU needs otherwise than a CPU stands in `way`."""

    opens = UnslothModel

    def way(self, plan: Plan, machine: Hardware, empty: torch.nn.Module, attention: str) -> tuple[Way, str]:
        """Pad rows behind on a GPU, where Unsloth's attention takes neither trees nor gaps; not on a CPU."""
        way, fact = super().way(plan, machine, empty, attention)
        if machine.device != "cuda" or way.packing is not Packing.tree:
            return way, fact
        padded = dataclasses.replace(way, packing=Packing.pad, one_beginning=False, branches=False)
        return padded, f"{Packing.pad.value}, not tree: {NOT_ON_A_GPU}"


class UnslothBackend(Loading):
    """Opens models with Unsloth, after one step of it has been compared with plain transformers and peft."""

    def _opened(self, plan: Plan) -> HFModel:
        model = super()._opened(plan)
        if member() is None:  # the members of a group come after the process that opened the model first
            reason = compare.check(model, Loading)
            if reason:
                model.machine.facts["unsloth"] += f", not compared with {compare.PLAIN}: {reason}"
        return model
