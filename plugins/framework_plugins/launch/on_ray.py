"""`launch.on=ray`: runs on a node of a Ray cluster, by Ray Train, and follows the run to its end.

Ray Train finds the node and starts the run again when the node or the process is lost; the run itself continues from
its newest checkpoint. What it prints comes back by Ray.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan, Stage
from framework.api import Report, count, display_run, pip_command, summarize_error
from framework.api.program import Interrupted, load_record, this_program
from framework_plugins.launch.child import USER_MISTAKE
from framework_plugins.launch.config import PlacedConfig, gpus
from framework_plugins.launch.job import Work, started, work_of

FOLDER = Path("outputs", "ray")
"""What Ray Train writes about its runs."""
EXTRA = "framework-finetune[ray]"


class OnRay:
    """Has Ray Train run a plan."""

    def __init__(self, config: PlacedConfig) -> None:
        self.config = config

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan in the cluster, wait for its end, and read its report if it is on this machine.

        Raises:
            FrameworkError: Ray is not installed or has no such node, the run ended with a user's mistake, or it was
                lost too often.
            RuntimeError: the run failed.
        """
        try:
            import ray  # noqa: PLC0415 - an extra
            from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError  # noqa: PLC0415 - as above
            from ray.train.torch import TorchTrainer  # noqa: PLC0415 - as above
        except ImportError as error:
            raise FrameworkError(f"launch.on=ray needs Ray Train\nInstall it: {pip_command([EXTRA])}") from error
        asked, devices = self.config.ray, gpus(plan, self.config, self.config.ray.gpus)
        needed = {"CPU": float(asked.cpus), **({"GPU": float(devices)} if devices else {})}
        try:
            ray.init(address=asked.address, include_dashboard=None if asked.address else False, log_to_driver=True)
        except (ConnectionError, ValueError) as error:
            raise FrameworkError(
                f"launch.ray.address={asked.address}: no Ray cluster answers there ({error})\n"
                "Start one with `ray start --head`, or leave the address out for one on this machine"
            ) from error
        try:
            _check_nodes(ray.nodes(), needed)
            trainer = TorchTrainer(
                work,
                train_loop_config={"work": work_of(plan)},
                scaling_config=ScalingConfig(num_workers=1, use_gpu=bool(devices), resources_per_worker=needed),
                run_config=RunConfig(
                    name=plan.run_dir.name,
                    storage_path=str(FOLDER.absolute()),
                    failure_config=FailureConfig(max_failures=asked.failures),
                ),
            )
            told = trainer.fit().return_value or {}
        except TrainingFailedError as error:
            raise FrameworkError(
                f"launch.on=ray: the run was lost {count(asked.failures + 1, 'time')}: {summarize_error(error)}\n"
                f"Continue with: {this_program()} resume {display_run(plan.run_dir)}"
            ) from error
        finally:
            ray.shutdown()
        _raise(told)
        file = plan.run_dir / "report.json"
        return load_record(Report, file) if Stage.report in plan.stages and file.exists() else None


def _check_nodes(nodes: list[dict[str, Any]], needed: Mapping[str, float]) -> None:
    """Refuse what no node has: Ray would wait for it."""
    held = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(each.get(name, 0) >= number for name, number in needed.items()) for each in held):
        return
    shown = "; ".join(", ".join(f"{each.get(name, 0):g} {name}" for name in needed) for each in held)
    wanted = ", ".join(f"{number:g} {name}" for name, number in needed.items())
    raise FrameworkError(
        f"launch.on=ray: the run needs a node with {wanted}, and the nodes have {shown or 'nothing'}\n"
        "Set launch.ray.cpus, launch.ray.gpus or launch.processes"
    )


def work(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run the plan in a process of its own; Ray calls this on the node, and again after a failure."""
    given: Work = config["work"]
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder, "error.txt")
        # The process that waits for Ray holds the run folder.
        with started(given, "--held", "--errors", str(errors)) as process:
            code = process.wait()
        if code < 0:
            raise RuntimeError(f"the run on {os.uname().nodename} was killed by signal {-code}")
        text = errors.read_text(encoding="utf-8") if errors.exists() else ""
    return {"code": code, "error": text}  # not raised: it would fail the same way again


def _raise(told: Mapping[str, Any]) -> None:
    code, text = int(told.get("code", 0)), str(told.get("error", ""))
    if code == USER_MISTAKE:
        raise FrameworkError(text)
    if code > 128:  # noqa: PLR2004 - what shells return for a signal
        raise Interrupted(code - 128)
    if code:
        raise RuntimeError(f"the run ended with exit code {code}: its output says why")
