"""The rows of a step, divided among the processes of a group.

Every process goes through the same order of whole steps and takes its own rows of each, so a step has the same rows
however many there are, also after an interruption and a resume with another number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from framework.api.training import TokenGroup
from framework_plugins.hf.packing.parts import Packer, Part
from framework_plugins.hf.train.step import StepRows, pack
from framework_plugins.hf.train.trainer import Collator
from framework_plugins.lib.group_member import Member

T = TypeVar("T")


def own_share(items: Sequence[T], me: Member) -> Sequence[T]:
    """Return the items that a process takes: neighbours, since those share a beginning."""
    # Not whole batches in turn, as accelerate gives them: a step would depend on how many processes there are
    # (decision 0024).
    return items[own_slice(len(items), me)]


def own_slice(count: int, me: Member) -> slice:
    """Return which of `count` items a process takes."""
    size = math.ceil(count / me.world)
    return slice(me.rank * size, (me.rank + 1) * size)


def zero_weight_part(packer: Packer, groups: Sequence[TokenGroup]) -> Part:
    """Return a part of which nothing is learned, for a process that has fewer of them than another."""
    (part, *_) = packer([min((row for group in groups for row in group.rows), key=lambda row: len(row.input_ids))])
    return part | {"share": torch.zeros_like(part["share"]), "tokens": 0, "supervised": 0}


@dataclass
class ShareCollator(Collator):
    """Reads the groups of a step and packs those of one process."""

    me: Member

    def pack(self, groups: Sequence[TokenGroup]) -> tuple[list[Part], StepRows]:
        """Return this process's parts of a step, and one of weight 0."""
        parts, rows = pack(self.objective, self.packer, groups, own_slice(len(groups), self.me), self.me.world)
        idle = zero_weight_part(self.packer, groups)
        idle |= {"count": rows.tokens / self.me.world, "step_tokens": rows.step_tokens / self.me.world}
        return parts, replace(rows, idle=idle)
