"""The validation loss in a group: each process takes some of the rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from framework.api.process_group import Member
from framework.api.records import TokenRow
from framework_plugins.hf.evaluation import CHUNK
from framework_plugins.hf.group.engine import added, most
from framework_plugins.hf.group.steps import blank, own
from framework_plugins.hf.group.weights import reshard
from framework_plugins.hf.losses import moved
from framework_plugins.hf.memory.passes import Passes
from framework_plugins.hf.modes import answering
from framework_plugins.hf.packing.parts import learned


@torch.no_grad()
def loss(passes: Passes, rows: Sequence[TokenRow], me: Member, device: str) -> float:
    """Return the mean loss over the supervised tokens of all rows, the same in each process.

    Args:
        passes: how rows go through the model.
        rows: all of them.
        me: this process.
        device: where it computes.
    """
    total, count, size = 0.0, 0, CHUNK * me.world
    answering(passes.losses.model, device)
    for start in range(0, len(rows), size):
        some = [rows[number] for number in range(start, min(start + size, len(rows)))]
        mine = own(some, me)
        parts = passes.packer(mine) if mine else []
        parts += [blank(passes.packer, some)] * (most(len(parts), device) - len(parts))
        total += sum(passes.losses.sum(moved(part, device)).item() for part in parts)
        count += sum(map(learned, some))
    reshard(passes.losses.model)
    return added(total, device) / count
