"""The loss on a GPU: the model is called as Unsloth expects it, with labels and the count of the step.

That is the call for which its causal mask, its fused loss and its rows without padding are made. Unsloth's own forward
functions take rows one after another (`PaddingFreePacker`), and ignore which logits are asked for by a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from framework.api.training import TokenRow
from framework_plugins.hf.loss.loss import MODEL_INPUTS, Losses
from framework_plugins.hf.loss.router_loss import RouterLoss
from framework_plugins.hf.packing.parts import Packer, Part, padded_batch
from framework_plugins.hf.packing.tree import Tree
from framework_plugins.hf.settings.config import Packing

ROW_LENGTHS = "packed_seq_lengths"
"""Unsloth's name for the lengths of rows one after another, which see nothing of each other."""


@dataclass(frozen=True, slots=True)
class PaddingFreePacker(Packer):
    """Lays rows one after another: `input_ids` and `position_ids`, each (1, tokens), and the lengths of the rows."""

    def _part(self, rows: list[TokenRow], tree: Tree | None) -> Part:
        del tree
        lengths = [len(row.input_ids) for row in rows]
        # Nothing predicts the first token of a row, least of all the row before it.
        labels = [label for row in rows for label in (TokenRow.IGNORE, *row.labels[1:])]
        part = padded_batch([TokenRow([token for row in rows for token in row.input_ids], labels)], self.pad_id)
        del part["attention_mask"]
        positions = torch.tensor([[position for length in lengths for position in range(length)]])
        return part | {"position_ids": positions, ROW_LENGTHS: torch.tensor(lengths, dtype=torch.int32)}


class UnslothLosses(Losses):
    """Losses of parts, by a model that Unsloth has patched for a GPU."""

    def __init__(self, model: Any, packing: Packing, **how: Any) -> None:
        super().__init__(model, packing, **how)
        self.router_loss = None  # the loss that the model gives with labels is that of tokens alone

    def _sum(self, part: Part, router_loss: RouterLoss | None) -> tuple[torch.Tensor, None]:
        """Return the summed cross entropy of a part in nats; a token has the weight 1, or 0."""
        del router_loss
        labels = torch.full_like(part["input_ids"], TokenRow.IGNORE)
        labels.view(-1)[part["source"] + 1] = part["target"].where(part["share"] > 0, TokenRow.IGNORE)
        count = torch.tensor(part["count"], device=labels.device)
        # Unsloth's own forward functions ignore `logits_to_keep` as a tensor, so they get the labels.
        loss: torch.Tensor = self.wrapped(
            **model_inputs(part), labels=labels, num_items_in_batch=count, use_cache=False
        ).loss
        return loss * count, None  # the trainer divides by it again

    def fewer_logits(self) -> str:
        """Do nothing: how many logits Unsloth makes at a time, it measures itself."""
        return ""

    def learned_states(self, part: Part, **options: Any) -> tuple[torch.Tensor, Any]:
        out = self.body(**model_inputs(part), use_cache=False, **options)
        return out[0].flatten(0, 1)[part["source"]], out

    def learned_logits(self, part: Part) -> torch.Tensor:
        return self.wrapped(**model_inputs(part), use_cache=False).logits.flatten(0, 1)[part["source"]]  # type: ignore[no-any-return]


def model_inputs(part: Part) -> dict[str, Any]:
    """Return what of a part a model is called with."""
    return {name: part[name] for name in (*MODEL_INPUTS, ROW_LENGTHS) if name in part}
