"""The validation loss in a group: each process takes some of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from framework.api.data import set_of
from framework.api.process_group import Member
from framework.api.records import TokenRow
from framework_plugins.hf.loss.loss import moved
from framework_plugins.hf.machine.precision import answering
from framework_plugins.hf.packing.parts import learned
from framework_plugins.hf.score.evaluation import CHUNK
from framework_plugins.hf.train.distributed.engine import added, most
from framework_plugins.hf.train.distributed.steps import blank, own
from framework_plugins.hf.train.distributed.weights import reshard
from framework_plugins.hf.train.passes import Passes


@torch.no_grad()
def losses(
    passes: Passes, rows: Sequence[TokenRow], sets: Mapping[str, str], me: Member, device: str
) -> tuple[float, dict[str, float]]:
    """Return the mean loss over the supervised tokens of all rows and of each set, the same in each process.

    Args:
        passes: how rows go through the model.
        rows: all of them.
        sets: the validation sets by the name of their loss; empty if there are none.
        me: this process.
        device: where it computes.
    """
    totals, counts = dict.fromkeys(["", *sets.values()], 0.0), dict.fromkeys(["", *sets.values()], 0)
    answering(passes.losses.model, device)
    for start in range(0, len(rows), CHUNK * me.world):
        chunk = [rows[number] for number in range(start, min(start + CHUNK * me.world, len(rows)))]
        for name in totals:
            some = [row for row in chunk if name == (set_of(row.where) if sets else "")]
            if not some:
                continue
            mine = own(some, me)
            parts = passes.packer(mine) if mine else []
            parts += [blank(passes.packer, some)] * (most(len(parts), device) - len(parts))
            totals[name] += sum(passes.losses.sum(moved(part, device)).item() for part in parts)
            counts[name] += sum(map(learned, some))
    reshard(passes.losses.model)
    summed = {name: added(total, device) for name, total in totals.items()}
    each = {name: summed[part] / counts[part] for name, part in sets.items() if counts[part]}
    return sum(summed.values()) / sum(counts.values()), each
