"""The trainer in each process of a group.

Engines keep the processes together around the model's own forward pass, and cut weights apart between passes. So every
process makes as many passes as the one with the most, and the model is always called as a whole.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, DataLoader
from transformers import TrainerCallback

from framework.api.process_group import Engine, Member, ProcessGroup
from framework_plugins.hf.machine.precision import answering
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.distributed.engine import added, agreed, check_started, check_wrapped, most
from framework_plugins.hf.train.distributed.steps import ShareCollator
from framework_plugins.hf.train.distributed.weights import reshard
from framework_plugins.hf.train.trainer import SupervisedTrainer


class GroupTrainer(SupervisedTrainer):
    """SupervisedTrainer in a group; `passes` are found out on the model as the engine has it.

    Args:
        group: what was asked for.
        me: this process.
        **arguments: the parent's.
    """

    data_collator: ShareCollator

    def __init__(self, group: ProcessGroup, me: Member, **arguments: Any) -> None:
        self.group = group
        self.me = me
        super().__init__(**arguments)
        self.add_callback(_Begin(self))

    def create_accelerator_and_postprocess(self) -> None:
        """Look at what came up before the model goes there."""
        super().create_accelerator_and_postprocess()
        check_started(self.accelerator, self.group, self.me)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give whole steps to every process; accelerate would give each steps of its own."""
        batches = BatchSampler(self.order, self.order.batch, drop_last=False)
        workers = self.args.dataloader_num_workers
        return DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator, num_workers=workers)

    def begin(self) -> None:
        """Look at what came up, and find out on it how rows go through it.

        Raises:
            FrameworkError: it is not what was asked for.
        """
        check_wrapped(self.model_wrapped, self.group)
        torch.manual_seed(self.args.seed + self.me.rank)  # dropout falls on other tokens in each
        losses = self.passes.losses
        answering(self.model, self.args.device.type)
        losses.through(self.model_wrapped)
        self.model.train()
        reshard(self.model)
        # Rounding could let them see it differently.
        losses.take(agreed(self.me, lambda: losses.found))
        packer = replace(self.passes.packer, packing=losses.packing, masked=losses.masked)
        self.passes.packer = self.data_collator.packer = packer
        self.order.by_length = losses.packing is Packing.pad

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Make the passes of this process, and as many blank ones as another has more; return its share of the loss."""
        parts = inputs["parts"]
        parts += [inputs["blank"]] * (most(len(parts), self.args.device) - len(parts))
        losses, whole = [], cast("Any", model)
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            self.accelerator.sync_gradients = last  # as the parent's loop does
            without_sync = self.group.engine is Engine.ddp and not last
            with whole.no_sync() if without_sync else nullcontext():
                losses.append(self.one_pass(model, part))
            self.computed_tokens += part["input_ids"].numel()
        self.tokens += inputs["tokens"]
        self.supervised_tokens += inputs["supervised"]
        loss = torch.stack(losses).sum()
        self.lost = self.lost + loss.detach()
        return loss

    def counters(self) -> dict[str, int]:
        """Return what was counted so far; of what went through the model, each process knows its own."""
        return {**super().counters(), "computed_tokens": int(added(self.computed_tokens, self.args.device))}


class _Begin(TrainerCallback):
    """Calls the trainer when its engine is up: only then there is something to look at."""

    def __init__(self, trainer: GroupTrainer) -> None:
        self.begin = partial(GroupTrainer.begin, trainer)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begin()
