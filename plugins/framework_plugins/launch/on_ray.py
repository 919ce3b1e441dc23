"""`launch.on=ray`: runs on nodes of a Ray cluster, by Ray Train, and follows the run to its end.

Each of Ray Train's workers holds a node, on which it starts the processes of the run. Ray Train finds the nodes, and
starts the run on all of them again when a node or a process is lost; the run itself continues from its newest
checkpoint. What it prints comes back by Ray.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan, Stage
from framework.api import Report, count, display_run, pip_command, summarize_error
from framework.api.program import Interrupted, load_record, this_program
from framework_plugins.launch.child import LOST, USER_MISTAKE
from framework_plugins.launch.config import PlacedConfig, gpus, nodes
from framework_plugins.launch.job import Work, started, work_of

FOLDER = Path("outputs", "ray")
"""What Ray Train writes about its runs."""
EXTRA = "framework-finetune[ray]"
POINTER = "run.json"
"""What Ray Train keeps as the checkpoint of a run: where the run's own are. They are as large as the model."""


class OnRay:
    """Has Ray Train run a plan."""

    def __init__(self, config: PlacedConfig) -> None:
        self.config = config

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan in the cluster, wait for its end, and read its report if it is on this machine.

        Raises:
            FrameworkError: Ray is not installed or has no such nodes, the run ended with a user's mistake, or it was
                lost too often.
            RuntimeError: the run failed.
        """
        try:
            import ray  # noqa: PLC0415 - an extra
            from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError  # noqa: PLC0415 - as above
            from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415 - as above
        except ImportError as error:
            raise FrameworkError(f"launch.on=ray needs Ray Train\nInstall it: {pip_command([EXTRA])}") from error
        ray_setup, node_count, devices = (
            self.config.ray,
            nodes(self.config),
            gpus(plan, self.config, self.config.ray.gpus),
        )
        needed = {"CPU": float(ray_setup.cpus), **({"GPU": float(devices)} if devices else {})}
        try:
            ray.init(
                address=ray_setup.address, include_dashboard=None if ray_setup.address else False, log_to_driver=True
            )
        except (ConnectionError, ValueError) as error:
            raise FrameworkError(
                f"launch.ray.address={ray_setup.address}: no Ray cluster answers there ({error})\n"
                "Start one with `ray start --head`, or leave the address out for one on this machine"
            ) from error
        except Exception as error:
            if type(error) is not Exception:  # nothing narrower is raised if a node does not start in 30 seconds
                raise
            raise FrameworkError(f"launch.on=ray: Ray does not start on this machine: {error}") from error
        try:
            _check_nodes(ray.nodes(), needed, node_count)
            trainer = TorchTrainer(
                work,
                train_loop_config={"work": work_of(plan), "nodes": node_count, "run_dir": str(plan.run_dir.absolute())},
                # The processes of the run have a group of their own; nccl would take memory of a GPU for this one.
                torch_config=TorchConfig(backend="gloo"),
                scaling_config=ScalingConfig(
                    num_workers=node_count, use_gpu=bool(devices), resources_per_worker=needed,
                    placement_strategy="STRICT_SPREAD",
                ),
                run_config=RunConfig(
                    name=plan.run_dir.name,
                    storage_path=str(FOLDER.absolute()),
                    failure_config=FailureConfig(max_failures=ray_setup.failures),
                ),
            )  # fmt: skip
            outcome = trainer.fit().return_value or {}
        except TrainingFailedError as error:
            raise FrameworkError(
                f"launch.on=ray: the run was lost {count(ray_setup.failures + 1, 'time')}: {summarize_error(error)}\n"
                f"Continue with: {this_program()} resume {display_run(plan.run_dir)}"
            ) from error
        finally:
            ray.shutdown()
        _raise(outcome)
        file = plan.run_dir / "report.json"
        return load_record(Report, file) if Stage.report in plan.stages and file.exists() else None


def _check_nodes(alive: list[dict[str, Any]], needed: Mapping[str, float], node_count: int) -> None:
    """Refuse what the nodes do not have: Ray would wait for it."""
    resources = [node["Resources"] for node in alive if node["Alive"]]
    enough = [node for node in resources if all(node.get(name, 0) >= amount for name, amount in needed.items())]
    if len(enough) >= node_count:
        return
    shown = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in resources)
    demand = ", ".join(f"{amount:g} {name}" for name, amount in needed.items())
    request = f"{node_count} nodes with {demand} each" if node_count > 1 else f"a node with {demand}"
    raise FrameworkError(
        f"launch.on=ray: the run needs {request}, and the nodes have {shown or 'nothing'}\n"
        f"Set launch.ray.cpus, launch.ray.gpus{', launch.nodes' if node_count > 1 else ''} or launch.processes"
    )


def work(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run the plan in processes of its own; Ray calls this on each node, and again after a failure.

    Returns:
        The exit code, and the text of an error: one that repeating would not change. That of the first node counts.

    Raises:
        RuntimeError: a process was lost.
    """
    task: Work = config["work"]
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder, "error.txt")
        # The process that waits for Ray holds the run folder.
        with started(task, "--held", "--errors", str(errors), *_meeting(config["nodes"])) as process:
            code = process.wait()
        text = errors.read_text(encoding="utf-8") if errors.exists() else ""
    _raise_if_lost(code, text)
    _report(Path(config["run_dir"]), finished=code == 0)
    return {"code": code, "error": text}


def _meeting(node_count: int) -> list[str]:
    """Return where the nodes meet: at a free port of the first."""
    if node_count == 1:
        return []
    from ray.train import get_context  # noqa: PLC0415 - an extra
    from ray.train.collective import broadcast_from_rank_zero  # noqa: PLC0415 - as above
    from ray.util import get_node_ip_address  # noqa: PLC0415 - as above

    address = ""
    if get_context().get_world_rank() == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            address = f"{get_node_ip_address()}:{free.getsockname()[1]}"
    return ["--rendezvous", broadcast_from_rank_zero(address)]


def _raise_if_lost(code: int, text: str) -> None:
    """Have Ray start the run again after a process was killed.

    If another node has the cause, and this one says no more than that it lost the others, the first decides.

    Raises:
        RuntimeError: a process was killed, or the first node lost one.
    """
    from ray.train import get_context  # noqa: PLC0415 - an extra

    # Of a process that is killed, Python says the negative signal, and a shell adds 128.
    signum = -code if code < 0 else code - 128
    subject = f"the run on {socket.gethostname()}"
    if signum > 0 and (code < 0 or signum not in Interrupted.SIGNALS):
        raise RuntimeError(f"{subject} was killed by signal {signum}")
    if code == LOST and get_context().get_world_rank() == 0:
        raise RuntimeError(f"{subject} has lost a process: {text}")


def _report(run_dir: Path, *, finished: bool) -> None:
    """Tell Ray Train what the run has measured, and where its checkpoints are; each node has to."""
    from ray import train  # noqa: PLC0415 - an extra

    file = run_dir / "report.json"
    if not finished or train.get_context().get_world_rank() or not file.exists():
        train.report({})
        return
    report = load_record(Report, file)
    metrics = {name: change.after for name, change in report.metrics.items()}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, POINTER).write_text(json.dumps({"run_dir": str(run_dir)}), encoding="utf-8")
        train.report(metrics, train.Checkpoint.from_directory(folder))


def _raise(outcome: Mapping[str, Any]) -> None:
    code, text = int(outcome.get("code", 0)), str(outcome.get("error", ""))
    if code == USER_MISTAKE:
        raise FrameworkError(text)
    if code - 128 in Interrupted.SIGNALS:
        raise Interrupted(code - 128)
    if code:
        raise RuntimeError(f"the run ended with exit code {code}: its output says why")
