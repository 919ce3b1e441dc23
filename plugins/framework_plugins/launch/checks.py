"""Problems of a group that show before it is started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from framework import FrameworkError, Plan, Stage
from framework.api import Gpu, Measure, Problem, count
from framework.api.program import read_run
from framework.api.training import Engine, Evaluation
from framework_plugins.launch.config import Fsdp2Config, GroupConfig, Where, nodes
from framework_plugins.lib.group_member import OUTER_VARIABLES, WORKER, Member, outer_member

GROUP_VARIABLES = {
    "LOCAL_RANK": ("-1",),
    "PET_NNODES": ("-1", "1", "1:1"),
    **{f"{of}_SIZE": ("-1", "0", "1") for of in ("WORLD", "PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD")},
}
"""Variables by which accelerate or torchrun form a process group, with the values for which they form none."""
GROUP_VARIABLE = re.compile(
    r"((GROUP_|ROLE_|LOCAL_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|PMI_(RANK|SIZE)"
    r"|(OMPI|MV2)_COMM_WORLD_(LOCAL_)?(RANK|SIZE)|(PET|TORCHELASTIC)_\w+)"
)
"""All variables that torchrun, MPI and a PyTorchJob set for the processes of a group."""

SHARED = "set run_dir=FOLDER on a disk that all machines share"
PORTS = 1 << 16
"""How many there are."""


def environment_problems(plan: Plan) -> Iterator[Problem]:
    """Refuse a process of a group that somebody else starts, unless it can take its place there.

    Slurm's own variables form no group, and neither does a world of one process without `LOCAL_RANK`.
    """
    signs = [
        f"{name}={os.environ[name]}"
        for name, neutral in GROUP_VARIABLES.items()
        if os.environ.get(name, "-1") not in neutral
    ]
    if not signs or WORKER in os.environ:
        return
    outer, config = outer_member(), plan.launch.config
    if outer is not None and isinstance(config, GroupConfig):
        yield from _outer_problems(plan, config, outer)
        return
    missing_variables = [name for name in OUTER_VARIABLES if name not in os.environ]
    names = " ".join(sorted(filter(GROUP_VARIABLE.fullmatch, os.environ)))
    how = (
        f"torchrun … -m framework …, which sets {', '.join(missing_variables)} too, with " if missing_variables else ""
    )
    yield Problem(
        f"the environment has {', '.join(signs)}: torchrun, mpirun or a PyTorchJob starts this process as one of a "
        f"group, for which it would wait. For a run in one process: unset {names}. To train in the group: {how}"
        "launch=ddp or launch=fsdp2"
    )


def is_continued(plan: Plan) -> bool:
    """Whether the run folder has the same run: the same words have begun it."""
    try:
        return read_run(plan.run_dir).overrides == plan.overrides
    except FrameworkError:
        return False


def _outer_problems(plan: Plan, config: GroupConfig, outer: Member) -> Iterator[Problem]:
    """Look at the group in which torchrun starts this process; that of an earlier start may have had another size."""
    launch, continued = f"launch={plan.launch.component.name}", is_continued(plan)
    if plan.sweep:
        yield Problem(
            "torchrun starts this process as one of a group, which runs no sweep: start the sweep in one process"
        )
        return
    if plan.config["run_dir"] is None:
        yield Problem(f"run_dir has to be given if torchrun starts the processes: {SHARED}")
    if plan.store:
        yield Problem(f"run_dir={plan.store}: torchrun starts processes that read one folder: {SHARED}", ("run_dir",))
    process_count = (config.processes or config.nodes) and config.on_each_node * (config.nodes or 1)
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", outer.world))
    if config.processes and not config.nodes:
        process_count = outer.world * config.processes // local_world
    if process_count and process_count != outer.world and not continued:
        yield Problem(
            f"{launch}: launch.nodes and launch.processes ask for {process_count} processes, and torchrun has started "
            f"{outer.world}: make them equal, or leave both settings out",
            ("launch",),
        )
    elif outer.world == 1 and process_count != 1 and not continued:
        yield Problem(
            f"{launch}: torchrun has started a group of one process: set its --nproc-per-node or --nnodes, or "
            "launch.nodes=1 launch.processes=1 if you mean one",
            ("launch",),
        )
    gpus = Gpu.count()
    if gpus and outer.local_rank >= gpus and plan.trainer.config.may_use_gpu():
        yield Problem(
            f"{launch}: LOCAL_RANK={outer.local_rank}, and this machine has {count(gpus, 'visible GPU')}: set "
            f"torchrun's --nproc-per-node={gpus}",
            ("launch",),
        )


def _node_problems(plan: Plan, config: GroupConfig) -> Iterator[Problem]:
    """Look at what a run on several machines needs."""
    if (config.nodes or 1) == 1:
        if config.rendezvous:
            yield Problem("launch.rendezvous is where several machines meet: set launch.nodes=2 as well")
        return
    if plan.stages == (Stage.plan,):
        return
    if plan.sweep:
        yield Problem(
            f"launch.nodes={config.nodes}: a sweep runs on one machine: set launch.nodes=1", ("launch.nodes",)
        )
    if plan.config["run_dir"] is None:
        yield Problem(f"launch.nodes={config.nodes}: {SHARED}", ("launch.nodes",))
    if plan.store:
        yield Problem(
            f"launch.nodes={config.nodes}: a run on an object store works on one machine: {SHARED}", ("launch.nodes",)
        )
    if config.on is not Where.local:  # which says where its nodes meet
        if config.rendezvous:
            yield Problem(
                f"launch.on={config.on.value} chooses the machines and where they meet: leave launch.rendezvous out",
                ("launch.on",),
            )
        return
    host, _, port = (config.rendezvous or "").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < PORTS):
        yield Problem(
            f"launch.rendezvous={config.rendezvous or 'null'} does not say where {config.nodes} machines meet: set "
            "launch.rendezvous=HOST:PORT on each, the name of one of them and a free port there",
            ("launch.rendezvous",),
        )


def problems(plan: Plan, config: GroupConfig) -> Iterator[Problem]:
    """Give each problem in a sentence."""
    if isinstance(config, Fsdp2Config) and config.evaluation is Evaluation.split and config.on_each_node == 1:
        yield Problem(
            "launch.evaluation=split divides the layers over the GPUs of this machine, and here is one process: set "
            "launch.processes=2 or launch.evaluation=whole",
            ("launch.evaluation",),
        )
    if Stage.train not in plan.intended_stages:
        if nodes(config) > 1 and outer_member() is None:
            yield Problem(
                f"launch.nodes={config.nodes}: machines train together, and stages has no train: set launch.nodes=1",
                ("launch.nodes",),
            )
        return
    if outer_member() is None:
        yield from _process_problems(plan, config)
        yield from _node_problems(plan, config)
    if isinstance(config, Fsdp2Config):
        yield from _shard_problems(config)
    yield from _training_problems(plan, config)


def _shard_problems(config: Fsdp2Config) -> Iterator[Problem]:
    """Look whether the processes make whole replicas, if it is known how many there are."""
    world, size = config.group().processes, config.dp_shard_size or 1
    if world % size and (world > 1 or config.processes or outer_member()):
        choices = "|".join(str(divisor) for divisor in range(2, world) if world % divisor == 0)
        yield Problem(
            f"launch.dp_shard_size={size} does not divide the number of processes, {world}: "
            f"{f'set launch.dp_shard_size={choices}, or ' if choices else ''}leave it out to shard over all of them",
            ("launch.dp_shard_size",),
        )


def _process_problems(plan: Plan, config: GroupConfig) -> Iterator[Problem]:
    """Look at the number of processes; a plan for another GPU is not one for this machine."""
    if not plan.trainer.config.may_use_gpu():
        if config.processes is None:
            yield Problem(
                "launch.processes has to be given with trainer.device=cpu: launch.processes=2", ("trainer.device",)
            )
        return
    key, elsewhere = "plan.gpu", plan.settings.plan.gpu
    if config.on is not Where.local:
        key, elsewhere = "launch.on", config.on.value
    if elsewhere:
        if config.processes is None:
            yield Problem(f"launch.processes has to be given with {key}={elsewhere}: launch.processes=8", (key,))
        # 0 may mean that another option of the cluster asks for them.
        gpus = {Where.slurm: config.slurm.gpus, Where.ray: config.ray.gpus}.get(config.on)
        if gpus and config.processes and gpus < config.processes:
            yield Problem(
                f"launch.{config.on.value}.gpus={gpus}: a node has launch.processes={config.processes}, and each "
                f"takes a GPU: set launch.processes={gpus}, or leave launch.{config.on.value}.gpus out",
                (f"launch.{config.on.value}.gpus",),
            )
        return
    visible = Gpu.count()
    if not visible and config.processes is None:
        yield Problem(
            f"launch={plan.launch.component.name} starts one process for each GPU, and none is visible: set "
            "launch=single, or trainer.device=cpu launch.processes=2 to try it out",
            ("launch",),
        )
    if visible and config.processes and config.processes > visible:
        yield Problem(
            f"launch.processes={config.processes}: {visible} GPU{'s are' if visible > 1 else ' is'} visible on this "
            f"machine, and each process takes one: set launch.processes={visible}, or trainer.device=cpu",
            ("launch.processes",),
        )


def _training_problems(plan: Plan, config: GroupConfig) -> Iterator[Problem]:
    training, launch = plan.training, f"launch={plan.launch.component.name}"
    if training.early_stopping_metric not in {Measure.EVAL_LOSS, *plan.set_losses, *plan.method.config.measures()}:
        yield Problem(
            f"trainer.early_stopping_metric={training.early_stopping_metric} needs answers to prompts during the "
            f"training, which {launch} cannot give: set trainer.early_stopping_metric={Measure.EVAL_LOSS}",
            ("trainer.early_stopping_metric", "launch"),
        )
    # Without GPUs here, the plan may be for a node that a scheduler finds; a process that has none refuses too.
    if config.engine is not Engine.ddp and not plan.trainer.config.may_use_gpu():
        yield Problem(f"{launch}: accelerate starts no FSDP on a CPU: set launch=ddp", ("launch",))
    if config.engine is not Engine.ddp and not plan.optimizer.config.shards:
        optimizer = f"optimizer={plan.optimizer.component.name}"
        yield Problem(
            f"{optimizer} cannot be cut into pieces by {launch}: set optimizer=adamw_torch", ("optimizer", "launch")
        )
    if config.engine is not Engine.ddp and plan.quantization.component.name == "int8":
        yield Problem(
            f"quantization=int8 cannot be cut into pieces by {launch}: set quantization=nf4 or launch=ddp",
            ("quantization", "launch"),
        )
