"""`python -m framework launch-file KIND OVERRIDES… --image IMAGE`: the file with which another program starts a run.

The plan is checked here, so that a mistake shows before a machine is paid for. The file has the overrides of the run,
and what the plan needs: GPUs by name and number, nodes, and how nodes find each other.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework import FrameworkError, Plan, Stage
from framework.api import override_key, redact
from framework.api.program import CommandParser, complete_overrides, load_config, make_plan
from framework_plugins.launch.config import LaunchFileCommandConfig, gpus, nodes
from framework_plugins.launch.slurm import PORT

SKYPILOT_NAMES = {
    "a100_80": "A100-80GB", "v100_32": "V100-32GB", "a6000": "RTXA6000", "rtx6000ada": "RTX6000-Ada", "h100pcie": "H100"
}  # fmt: skip
"""What SkyPilot calls a GPU, if it is not its name in capitals without the size."""
DSTACK_NAMES = {"rtx6000ada": "RTX6000Ada", "h100pcie": "H100"}
"""What dstack calls a GPU, if it is not its name in capitals; a size follows it: `A100:40GB`."""
IMAGE = re.compile(r"(docker:)?[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@\w+:[0-9a-fA-F]+)?", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
HERE = ("plan.gpu", "launch.on", "launch.rendezvous")
"""Overrides that are about the plan, or about where it runs."""


@dataclass(frozen=True)
class Asked:
    """What a file asks for.

    Attributes:
        name: of the run.
        image: the container image with the program.
        gpu: the name of the GPU as `plan.gpu` has it; empty for a CPU.
        gpus: of each machine.
        nodes: machines.
        words: of the run.
        secrets: variables of the environment that the run reads.
    """

    name: str
    image: str
    gpu: str
    gpus: int
    nodes: int
    words: Sequence[str]
    secrets: Sequence[str]

    def command(self, address: str) -> str:
        """Return the command of each machine; `address` is how a shell there finds the first one."""
        meeting = [] if self.nodes == 1 else [f'launch.rendezvous="{address}:{PORT}"']
        return " ".join([shlex.join(["python", "-m", "framework", *self.words]), *meeting])


class LaunchFileCommand:
    """Prints launch files."""

    def __init__(self, config: LaunchFileCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Check the run, and print its file."""
        parser = CommandParser("launch-file", LaunchFileCommandConfig.__doc__)
        parser.add_argument("kind", metavar="KIND", choices=[*KINDS], help=", ".join(KINDS))
        parser.add_overrides("the run, as on the command line; plan.gpu names the GPU to ask for")
        parser.add_argument("--image", required=True, help="the container image that has this program")
        parser.add_argument(
            "--secret", action="append", default=[], metavar="NAME", help="a variable that the run reads, HF_TOKEN"
        )
        options = parser.read(arguments)
        _check_names(options.image, options.secret)
        run_dir = [word for word in options.overrides if override_key(word) == "run_dir"]
        # Without it: what may be in the folder, perhaps on a store, is for the job to read.
        words = [*complete_overrides([word for word in options.overrides if word not in run_dir]), *run_dir]
        config, checked_words = load_config(words), words
        if (config.launch.get("nodes") or 1) > 1 and not config.launch.rendezvous:
            # Where machines meet is known when they run; the file says it.
            checked_words = [*words, f"launch.rendezvous=HOST:{PORT}"]
            config = load_config(checked_words)
        plan = dataclasses.replace(make_plan(config, overrides=tuple(checked_words)), overrides=tuple(words))
        request = read_plan(plan, options.image, options.secret)
        print(yaml.safe_dump(KINDS[options.kind](request), sort_keys=False, width=1000), end="")  # noqa: T201
        for notice in notices(plan):
            print(notice, file=sys.stderr)  # noqa: T201 - not a part of the file
        return 0


def _check_names(image: str, secrets: Sequence[str]) -> None:
    """Refuse what is not the name of an image or of a variable; it may be a secret, so it is not quoted.

    Raises:
        FrameworkError: it is something else.
    """
    if not IMAGE.fullmatch(image) or redact(image) != image:
        raise FrameworkError(
            "--image has to be the name of a container image, such as ghcr.io/me/image:1, without a user or a "
            "password: the program that starts the job logs in at the registry"
        )
    if any(not VARIABLE.fullmatch(name) for name in secrets):
        raise FrameworkError(
            "--secret takes the name of a variable of the environment, --secret HF_TOKEN, not its value, which the "
            "file would contain"
        )


def read_plan(plan: Plan, image: str, secrets: Sequence[str]) -> Asked:
    """Return what a file asks for.

    Raises:
        FrameworkError: the plan does not say which GPU, or a word of it holds a secret.
    """
    count, gpu = gpus(plan, plan.launch.config, None), plan.settings.plan.gpu
    if count and not gpu:
        raise FrameworkError(
            "launch-file has to know which GPU to ask for: set plan.gpu=h100, or trainer.device=cpu for none"
        )
    dropped = {*HERE, *(["stages"] if plan.stages == (Stage.plan,) else [])}
    words = [word for word in plan.overrides if override_key(word) not in dropped]
    if hidden := next((override_key(word) for word in words if redact(word) != word), ""):
        raise FrameworkError(
            f"{hidden} is a secret, and the file would contain it: read it from the environment, "
            f"'{hidden}=${{oc.env:NAME}}', and add --secret NAME"
        )
    gpu = re.sub(r"[\s-]", "", gpu.lower()) if gpu and count else ""
    return Asked(plan.name, image, gpu, count, nodes(plan.launch.config), words, secrets)


def notices(plan: Plan) -> Sequence[str]:
    """Say which files of this machine the run would miss there, and which size of a GPU the file asks for."""
    path = plan.data.config.source()
    typed, gpu = plan.config["plan"]["gpu"] or "", plan.settings.plan.gpu or ""
    lines = [f"plan.gpu={typed}: the file asks for {gpu}"] if gpu.startswith(f"{typed}_") else []
    if path and Path(path).exists():
        lines.append(f"data.path={path} is a file of this machine: put it into the image or on a disk of the job")
    if not plan.store and nodes(plan.launch.config) == 1:
        lines.append("run_dir is a folder of the job's machine: set run_dir=s3://BUCKET/FOLDER to keep the run")
    return lines


def kubeflow(request: Asked) -> Mapping[str, Any]:
    """Return a TrainJob of Kubeflow Trainer 2, for its runtime `torch-distributed`, which sets torchrun's variables."""
    shell = shlex.join(["python", "-m", "framework", *request.words])
    if request.nodes > 1:
        shell = shlex.join(["torchrun", "-m", "framework", *request.words])
    trainer: dict[str, Any] = {
        "image": request.image,
        "command": ["bash", "-c"],
        "args": [shell],
        "numNodes": request.nodes,
    }
    trainer["numProcPerNode"] = max(1, request.gpus)
    if request.gpus:
        trainer["resourcesPerNode"] = {"limits": {"nvidia.com/gpu": request.gpus}}
    if request.secrets:
        trainer["env"] = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": _dns(request.name), "key": name}}}
            for name in request.secrets
        ]
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": _dns(request.name)},
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": trainer},
    }


def skypilot(request: Asked) -> Mapping[str, Any]:
    """Return a task of SkyPilot; the files of the folder in which it is launched go along."""
    resources: dict[str, Any] = {"image_id": f"docker:{request.image}"}
    if request.gpus:
        if _size(request.gpu):
            raise FrameworkError(f"plan.gpu={request.gpu}: SkyPilot asks for a GPU by its name: set plan.gpu=h100")
        name = SKYPILOT_NAMES.get(request.gpu, request.gpu.partition("_")[0].upper())
        resources["accelerators"] = f"{name}:{request.gpus}"
    task = {"name": _dns(request.name), "num_nodes": request.nodes, "workdir": ".", "resources": resources}
    if request.secrets:
        task["secrets"] = dict.fromkeys(request.secrets)
    return {**task, "run": request.command('$(echo "$SKYPILOT_NODE_IPS" | head -n 1)')}


def dstack(request: Asked) -> Mapping[str, Any]:
    """Return a task of dstack."""
    task: dict[str, Any] = {"type": "task", "name": _dns(request.name), "image": request.image}
    if request.nodes > 1:
        task["nodes"] = request.nodes
    if request.secrets:
        task["env"] = [*request.secrets]
    task["commands"] = [request.command("$DSTACK_MASTER_NODE_IP")]
    if request.gpus and (size := _size(request.gpu)):
        task["resources"] = {"gpu": f"{size}GB..:{request.gpus}"}
    elif request.gpus:
        name, _, memory = request.gpu.partition("_")
        memory = f":{memory}GB" if memory else ""
        task["resources"] = {"gpu": f"{DSTACK_NAMES.get(name, name.upper())}{memory}:{request.gpus}"}
    return task


def _size(gpu: str) -> str:
    """Return the GB of a GPU that is given by its size; empty if it has a name."""
    match = re.fullmatch(r"(\d+)(?:\.\d+)?(gib|gb|g)", gpu)
    return match[1] if match else ""


def _dns(name: str) -> str:
    """Return a name that all of them take: 2 to 40 small letters, digits and hyphens, a letter first."""
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    label = letters if re.match(r"[a-z].", letters) else f"run-{letters}"
    return label[:40].rstrip("-")


KINDS: Mapping[str, Callable[[Asked], Mapping[str, Any]]] = {
    "kubeflow": kubeflow,
    "skypilot": skypilot,
    "dstack": dstack,
}
