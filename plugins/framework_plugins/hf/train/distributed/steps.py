"""The rows of a step, divided among the processes of a group.

Every process goes through the same order of whole steps and takes its own rows of each, so a step has the same rows
however many there are, also after an interruption and a resume with another number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from framework.api.process_group import Member
from framework_plugins.hf.packing.parts import Packer, Part, learned
from framework_plugins.hf.train.trainer import NUMBER, Collator

T = TypeVar("T")


def own(items: Sequence[T], me: Member) -> Sequence[T]:
    """Return the items that a process takes: neighbours, since those begin alike."""
    size = math.ceil(len(items) / me.world)
    return items[me.rank * size : (me.rank + 1) * size]


def blank(packer: Packer, rows: Sequence[Any]) -> Part:
    """Return a part of which nothing is learned, for a process that has fewer of them than another."""
    (part, *_) = packer([min(rows, key=lambda row: len(row.input_ids))])
    return part | {"share": torch.zeros_like(part["share"]), "tokens": 0, "supervised": 0}


@dataclass
class ShareCollator(Collator):
    """Reads the rows of a step and packs those of one process."""

    me: Member

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Return this process's parts of a step, a blank one, and how much is learned in the whole step.

        A part's loss is divided by `count`. Gradients of the processes are averaged, so that is their share of the
        learned tokens of the step, and the sum of all is divided by all of them; so with `step_tokens`.
        """
        rows = self.chosen([item[NUMBER] for item in items])
        mine = own(rows, self.me)
        parts = self.packer(mine) if mine else []
        empty = blank(self.packer, rows)
        count, tokens = sum(map(learned, rows)), sum(len(row.input_ids) for row in rows)
        for part in (*parts, empty):
            part |= {"count": count / self.me.world, "step_tokens": tokens / self.me.world}
        return {"parts": parts, "blank": empty, "tokens": tokens, "supervised": count}
