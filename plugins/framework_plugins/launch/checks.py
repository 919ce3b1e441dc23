"""Problems of a group that show before it is started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from framework import Plan, Stage
from framework.api import EVAL_LOSS, gpu_count
from framework.api.training import WORKER, Engine
from framework_plugins.launch.config import GroupConfig, Where

GROUP_VARIABLES = {
    "LOCAL_RANK": ("-1",),
    **{f"{of}_SIZE": ("-1", "0", "1") for of in ("WORLD", "PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD")},
}
"""Variables by which accelerate forms a process group, with the values for which it forms none."""
GROUP_VARIABLE = re.compile(
    r"((GROUP_|ROLE_|LOCAL_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|PMI_(RANK|SIZE)"
    r"|(OMPI|MV2)_COMM_WORLD_(LOCAL_)?(RANK|SIZE)|(PET|TORCHELASTIC)_\w+)"
)
"""All variables that torchrun, MPI and a PyTorchJob set for the processes of a group."""


def foreign_group() -> Iterator[str]:
    """Refuse a process that somebody else starts as one of a group: it would wait for the others, or train with them.

    Slurm's own variables form no group, and neither does a world of one process.
    """
    signs = [
        f"{name}={os.environ[name]}"
        for name, alone in GROUP_VARIABLES.items()
        if os.environ.get(name, "-1") not in alone
    ]
    if signs and WORKER not in os.environ:
        names = " ".join(sorted(filter(GROUP_VARIABLE.fullmatch, os.environ)))
        yield (
            f"the environment has {', '.join(signs)}: torchrun, mpirun or a PyTorchJob starts this process as one of a "
            f"group, for which it would wait. For a run in one process: unset {names}. For several GPUs of this "
            "machine, start one process with launch=ddp or launch=fsdp2"
        )


def problems(plan: Plan, config: GroupConfig) -> Iterator[str]:
    """Give each problem in a sentence."""
    if Stage.train not in plan.stages and plan.stages != (Stage.plan,):
        return
    yield from _process_problems(plan, config)
    yield from _training_problems(plan, config)


def _process_problems(plan: Plan, config: GroupConfig) -> Iterator[str]:
    """Look at the number of processes; a plan for another GPU is not one for this machine."""
    if _device(plan) == "cpu":
        if config.processes is None:
            yield "launch.processes has to be given with trainer.device=cpu: launch.processes=2"
        return
    elsewhere = f"plan.gpu={plan.planning.gpu}" if plan.planning.gpu else ""
    if config.on is not Where.local:
        elsewhere = f"launch.on={config.on.value}"
    if elsewhere:
        if config.processes is None:
            yield f"launch.processes has to be given with {elsewhere}: launch.processes=8"
        return
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
    """Return what the trainer is to train on, if it has such a setting."""
    device: Any = getattr(plan.trainer.config, "device", "auto")
    return str(getattr(device, "value", device))


def _training_problems(plan: Plan, config: GroupConfig) -> Iterator[str]:
    training, launch = plan.training, f"launch={plan.launch.component.name}"
    if training.early_stopping_metric not in {EVAL_LOSS, *plan.set_losses, *plan.method.config.measures()}:
        yield (
            f"trainer.early_stopping_metric={training.early_stopping_metric} needs answers to prompts during the "
            f"training, which {launch} cannot give: set trainer.early_stopping_metric={EVAL_LOSS}"
        )
    # Without GPUs here, the plan may be for a node that a scheduler finds; a process that has none refuses too.
    if config.engine is not Engine.ddp and _device(plan) == "cpu":
        yield f"{launch}: accelerate starts no FSDP on a CPU: set launch=ddp"
    if config.engine is not Engine.ddp and not plan.optimizer.config.shards:
        optimizer = f"optimizer={plan.optimizer.component.name}"
        yield f"{optimizer} cannot be cut into pieces by {launch}: set optimizer=adamw_torch"
    if config.engine is not Engine.ddp and plan.quantization.component.name == "int8":
        yield f"quantization=int8 cannot be cut into pieces by {launch}: set quantization=nf4 or launch=ddp"
