"""A plugin for tests of groups of processes: FSDP on a CPU, and a process that dies on purpose.

accelerate (1.15) leaves FSDP out on a CPU without a word, and starts DDP; here it does what it does on a GPU. What is
tested besides is all of it real: torch's `fully_shard`, gloo, the trainer.

Nor does torch pin memory there, which weights that are offloaded lie in on a GPU's machine.

`GROUP_TEST_END=RANK:STEP:HOW` lets a process end before a step, by a signal's number or by `raise`, or wait there until
there is a file `HOW`; `GROUP_TEST_PLAIN` leaves accelerate as it is. `GROUP_TEST_LATE` lets all processes but the first
end their training a second later. With `GROUP_TEST_SEEN=FOLDER` each process writes down there, as `RANK.json`, what
the engine made of its model.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from framework import hookimpl
from framework_plugins.lib.group_member import member, outer_member

END, PLAIN, SEEN, LATE = "GROUP_TEST_END", "GROUP_TEST_PLAIN", "GROUP_TEST_SEEN", "GROUP_TEST_LATE"


@hookimpl
def framework_advice(plan: Any, work: Any) -> Iterable[str]:
    """Advise nothing: a plugin has to have a hook."""
    del plan, work
    return ()


def _shard_on_a_cpu() -> None:
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    plain = AcceleratorState.__init__

    def init(self: Any, *words: Any, **named: Any) -> None:
        plain(self, *words, **named)
        plugin = named.get("fsdp_plugin")
        if plugin is not None and self.distributed_type is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = plugin
            if self._mixed_precision != "no":
                plugin.set_mixed_precision(self._mixed_precision)

    AcceleratorState.__init__ = init


def _pin_nothing() -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy

    CPUOffloadPolicy.__init__.__defaults__ = (False,)


def _end(rank: int, wanted: str) -> None:
    from framework_plugins.hf.train.trainer import SupervisedTrainer

    of, at, how = wanted.split(":")
    plain = SupervisedTrainer.training_step

    def step(self: SupervisedTrainer, *words: Any, **named: Any) -> Any:
        if rank == int(of) and self.state.global_step + 1 == int(at):
            if how == "raise":
                raise LookupError("lost on purpose")
            if how.isdecimal():
                os.kill(os.getpid(), int(how))
            while not Path(how).exists():
                time.sleep(0.1)
        return plain(self, *words, **named)

    SupervisedTrainer.training_step = step  # type: ignore[method-assign] # in a test's own process


def _be_late() -> None:
    from framework_plugins.hf.train.best_weights import BestWeights

    plain = BestWeights.restore

    def late(self: BestWeights, step: int) -> None:
        time.sleep(1)
        plain(self, step)

    BestWeights.restore = late  # type: ignore[method-assign] # in a test's own process


def _tell(rank: int, folder: str) -> None:
    from framework_plugins.hf.train.distributed import engine

    plain = engine.adopt

    def adopt(trainer: Any, group: Any) -> None:
        plain(trainer, group)
        Path(folder, f"{rank}.json").write_text(json.dumps(_seen(trainer.model) | _found(trainer)), encoding="utf-8")

    engine.adopt = adopt


def _found(trainer: Any) -> dict[str, Any]:
    """Return whether logits are made a few at a time, and how rows are packed."""
    losses = trainer.runner.passes.losses
    return {"head": losses.head is not None, "packing": losses.packing.value}


def _seen(model: Any) -> dict[str, Any]:
    """Return how this was started, how the frozen weights lie here, some of 4 bits, and what was put around layers."""
    from bitsandbytes.nn import Linear4bit
    from torch.distributed.fsdp import FSDPModule

    from framework_plugins.hf.load.sharded_weights import CHECKPOINT_WRAPPER, local_shard

    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    few = [module.weight for module in model.modules() if isinstance(module, Linear4bit)]
    cut = [module._get_fsdp_state() for module in model.modules() if isinstance(module, FSDPModule)]  # noqa: SLF001 - torch tells nowhere else
    groups: list[Any] = [group for state in cut for group in state._fsdp_param_groups]  # noqa: SLF001 - as above
    return {
        "started": psutil.Process().cmdline()[-4:],
        "heard from": sorted(listening()),
        "here": sum(local_shard(weight).numel() for weight in frozen),
        "whole": sum(weight.numel() for weight in frozen),
        "4 bits": [[str(weight.dtype), local_shard(weight).numel(), weight.numel()] for weight in few],
        "checkpointed": sum(hasattr(module, CHECKPOINT_WRAPPER) for module in model.modules()),
        "offload": sorted({type(group.offload_policy).__name__ for group in groups}),
        "reduced": sorted({str(state._mp_policy.reduce_dtype) for state in cut}),  # noqa: SLF001 - as above
    }


def listening() -> set[str]:
    """Return the addresses at which a process of the group, or the agent that started it, waits for others."""
    parent = psutil.Process(os.getppid())
    opened = set[str]()
    for process in [parent, *parent.children(recursive=True)]:
        with suppress(psutil.Error):
            opened |= {found.laddr.ip for found in process.net_connections("tcp") if found.status == psutil.CONN_LISTEN}
    return opened


if me := member() or outer_member():
    if PLAIN not in os.environ:
        _shard_on_a_cpu()
        _pin_nothing()
    if END in os.environ:
        _end(me.rank, os.environ[END])
    if LATE in os.environ and me.rank:
        _be_late()
    if SEEN in os.environ:
        _tell(me.rank, os.environ[SEEN])
