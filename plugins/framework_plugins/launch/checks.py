"""Problems of a group that show before it is started."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from framework.api.machine import gpu_count
from framework.api.plan import EVAL_LOSS, Plan
from framework.api.process_group import Engine
from framework.api.schema import Optimizer, Stage
from framework_plugins.launch import slurm
from framework_plugins.launch.config import SLURM, GroupConfig, ShardedConfig


def problems(plan: Plan, config: GroupConfig) -> Iterator[str]:
    """Give each problem in a sentence."""
    if Stage.train not in plan.stages and plan.stages != (Stage.plan,):
        return
    yield from _members(plan, config)
    yield from _machines(config)
    yield from _training(plan, config)
    if config.engine is Engine.deepspeed_zero3:
        yield from _deepspeed(plan)


def _members(plan: Plan, config: GroupConfig) -> Iterator[str]:
    """Look at the number of processes; a plan for another GPU is not one for this machine."""
    if _device(plan) == "cpu":
        if config.processes is None:
            yield "launch.processes has to be given with trainer.device=cpu: launch.processes=2"
        return
    if plan.planning.gpu:
        if config.processes is None:
            yield f"launch.processes has to be given with plan.gpu={plan.planning.gpu}: launch.processes=8"
        return
    if config.main_address == SLURM and slurm.node() is None:
        return  # it is not here that it will run
    here = gpu_count()
    if not here and config.processes is None:
        yield (
            f"launch={plan.launch.component.name} starts one process for each GPU, and none is visible: set "
            "launch=single, or trainer.device=cpu launch.processes=2 to try it out"
        )
    if here and config.processes and config.processes > here:
        yield (
            f"launch.processes={config.processes}: {here} GPU{'s are' if here > 1 else ' is'} visible on this machine, "
            f"and each process takes one: set launch.processes={here}, or trainer.device=cpu"
        )


def _device(plan: Plan) -> str:
    """Return what the trainer is to train on, where it has such a setting."""
    asked: Any = getattr(plan.trainer.config, "device", "auto")
    return str(getattr(asked, "value", asked))


def _machines(config: GroupConfig) -> Iterator[str]:
    if config.rank is not None and config.rank >= config.machines:
        yield f"launch.rank={config.rank} is none of launch.machines={config.machines}: they count from 0"
    if config.machines == 1 or config.main_address == SLURM:
        return
    if config.main_address is None:
        yield (
            f"launch.machines={config.machines} need launch.main_address=HOST, under which the others reach the first, "
            f"or launch.main_address={SLURM}"
        )
    if config.rank is None:
        yield f"launch.machines={config.machines} need launch.rank on each machine, 0 on the first"


def _training(plan: Plan, config: GroupConfig) -> Iterator[str]:
    training, launch = plan.training, f"launch={plan.launch.component.name}"
    if training.early_stopping_metric != EVAL_LOSS:
        yield (
            f"trainer.early_stopping_metric={training.early_stopping_metric} has prompts answered in the middle of the "
            f"training, which {launch} cannot: set trainer.early_stopping_metric={EVAL_LOSS}"
        )
    if isinstance(config, ShardedConfig) and config.cpu_offload and _device(plan) == "cpu":
        yield "launch.cpu_offload=true has nothing to offload with trainer.device=cpu: set launch.cpu_offload=false"
    if config.engine is not Engine.ddp and training.optim is not Optimizer.adamw_torch:
        yield (
            f"trainer.optim={training.optim.value} cannot be cut into pieces by {launch}: set trainer.optim=adamw_torch"
        )
    if config.engine is not Engine.ddp and plan.quantization.component.name == "int8":
        yield f"quantization=int8 cannot be cut into pieces by {launch}: set quantization=nf4 or launch=ddp"


def _deepspeed(plan: Plan) -> Iterator[str]:
    if importlib.util.find_spec("deepspeed") is None and plan.stages != (Stage.plan,):
        yield "launch=deepspeed_zero3 needs deepspeed: pip install 'framework[deepspeed]', or set launch=fsdp2"
    if plan.quantization.component.name == "nf4":
        yield (
            "quantization=nf4 does not come apart under ZeRO-3, each GPU would hold all of it: set launch=fsdp2, which "
            "cuts it, or quantization=none"
        )
    if getattr(plan.trainer.config, "save_steps", None):
        yield (
            f"trainer.save_steps={getattr(plan.trainer.config, 'save_steps', None)}: a training with "
            "launch=deepspeed_zero3 cannot be resumed. Set trainer.save_steps=null or launch=fsdp2"
        )
