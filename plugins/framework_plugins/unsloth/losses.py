"""The loss on a GPU: the model is called as Unsloth expects it, with labels and the count of the step.

That is the call for which its causal mask, its fused loss and its rows without padding are made. Unsloth's own forward
functions take rows one behind another (`Joined`), and ignore which logits are asked for by a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.loss.loss import INPUTS, Losses
from framework_plugins.hf.loss.router_loss import Balance
from framework_plugins.hf.packing.parts import Packer, Part, padded
from framework_plugins.hf.packing.tree import Tree

LENGTHS = "packed_seq_lengths"
"""Unsloth's name for the lengths of rows one behind another, which see nothing of each other."""


@dataclass(frozen=True, slots=True)
class Joined(Packer):
    """Lays rows one behind another: `input_ids` and `position_ids`, each (1, tokens), and the lengths of the rows."""

    def _part(self, rows: list[TokenRow], tree: Tree | None) -> Part:
        del tree
        lengths = [len(row.input_ids) for row in rows]
        # Nothing predicts the first token of a row, least of all the row before it.
        labels = [label for row in rows for label in (IGNORE, *row.labels[1:])]
        part = padded([TokenRow([token for row in rows for token in row.input_ids], labels)], self.pad_id)
        del part["attention_mask"]
        positions = torch.tensor([[place for length in lengths for place in range(length)]])
        return part | {"position_ids": positions, LENGTHS: torch.tensor(lengths, dtype=torch.int32)}


class UnslothLosses(Losses):
    """Losses of parts, by a model that Unsloth has patched for a GPU."""

    def _sum(self, part: Part, balanced: Balance | None) -> tuple[torch.Tensor, None]:
        """Return the summed cross entropy of a part in nats; a token has the weight 1, or 0 in a blank part."""
        del balanced
        labels = torch.full_like(part["input_ids"], IGNORE)
        labels.view(-1)[part["source"] + 1] = part["target"].where(part["share"] > 0, IGNORE)
        count = torch.tensor(part["count"], device=labels.device)
        loss: torch.Tensor = self.caller(**_inputs(part), labels=labels, num_items_in_batch=count, use_cache=False).loss
        return loss * count, None  # the trainer divides by it again

    def fewer_logits(self) -> str:
        """Do nothing: how many logits Unsloth makes at a time, it measures itself."""
        return ""

    def _look(self) -> None:
        self.balance = None  # the loss that the model gives with labels is that of tokens alone
        super()._look()

    def _states(self, part: Part, **more: Any) -> tuple[torch.Tensor, Any]:
        out = self.body(**_inputs(part), use_cache=False, **more)
        return out[0].flatten(0, 1)[part["source"]], out

    def _logits(self, part: Part) -> torch.Tensor:
        return self.caller(**_inputs(part), use_cache=False).logits.flatten(0, 1)[part["source"]]  # type: ignore[no-any-return]


def _inputs(part: Part) -> dict[str, Any]:
    return {name: part[name] for name in (*INPUTS, LENGTHS) if name in part}
