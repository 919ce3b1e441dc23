"""hf/packing/tree_states.py: what the layers of a pass have in common is made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from framework.api.training import TokenRow
from framework_plugins.hf.loss.loss import Losses
from framework_plugins.hf.loss.passes import enable_checkpointing
from framework_plugins.hf.packing import tree_states
from framework_plugins.hf.packing.parts import Packer
from framework_plugins.hf.packing.tree import Node
from framework_plugins.hf.settings.config import Packing
from tests.support.bases import needs_states
from tests.support.family_twins import HEADS, PLAIN


@needs_states
def test_the_places_of_a_pass_are_listed_once_for_all_its_layers_and_their_repetition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed, batches = [], tree_states._piece_batches  # noqa: SLF001 - what is counted

    def counted(nodes: Sequence[Node]) -> Any:
        listed.append(nodes)
        return batches(nodes)

    monkeypatch.setattr(tree_states, "_piece_batches", counted)
    kinds = ["conv", "conv", "full_attention", "conv"]
    sizes = {**PLAIN, **HEADS, "num_hidden_layers": 4, "layer_types": kinds, "block_auto_adjust_ff_dim": False}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("lfm2", vocab_size=300, **sizes)).train()
    tree_states.use_tree_states(model)
    enable_checkpointing(model)
    losses = Losses(model, Packing.tree, dense_mask=True)
    begin = [*range(3, 20)]
    rows = [TokenRow(ids := begin + [end] * (end - 20), ids) for end in range(30, 38)]
    parts = Packer(Packing.tree, 4, 0, dense_mask=True)(rows)
    for part in parts:
        with torch.inference_mode():  # of an evaluation before
            losses.sum(part)
        torch.autograd.backward(losses.sum(part))
    assert len(listed) == len(parts) > 1
