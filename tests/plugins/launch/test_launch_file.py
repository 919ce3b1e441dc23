"""The files of `launch-file`, and whether the programs that they are for read them.

The slow tests take those programs from environments of their own: `LAUNCHERS_ROOT` names a folder with the virtual
environments `kubeflow`, `skypilot` and `dstack`, each with the package of its name.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from framework import FrameworkError
from framework_plugins.launch.launch_file import KINDS, Asked
from tests.support.project import project

WORDS = ["model=smollm2_135m", "data=orders"]
READ = {
    "kubeflow": """
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob as Job
assert Job.from_dict(plain).to_dict() == plain, Job.from_dict(plain).to_dict()
""",
    "skypilot": """
import sky
task = sky.Task.from_yaml(file)
assert task.num_nodes == plain["num_nodes"]
assert all("accelerators" not in plain["resources"] or each.accelerators for each in task.resources)
""",
    "dstack": """
from dstack._internal.core.models.configurations import parse_run_configuration
task = parse_run_configuration(plain)
assert task.resources.gpu.count.min == int(plain.get("resources", {"gpu": ":0"})["gpu"].split(":")[-1])
""",
}
BEGIN = "import sys, yaml\nfor file in sys.argv[1:]:\n    plain = yaml.safe_load(open(file))\n"


def asked(gpu: str = "h100", gpus: int = 8, nodes: int = 1) -> Asked:
    return Asked("My run_1", "me/framework:1", gpu, gpus, nodes, [*WORDS, "run_dir=s3://b/x"], ["HF_TOKEN"])


def test_the_command_prints_a_file_and_says_what_the_machine_would_lack(tmp_path: Path) -> None:
    place = project(tmp_path, {"rows.jsonl": '{"instruction": "a", "output": "b"}\n' * 4})
    words = ["launch=fsdp2", "launch.processes=4", "plan.gpu=a100_80", "optimizer=adamw_torch", "stages=[plan]"]
    done = place.run("launch-file", "skypilot", "--image", "me/framework:1", *WORDS, *words, "run_dir=s3://b/x")
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out) == {
        "name": "run", "num_nodes": 1, "workdir": ".",
        "resources": {"image_id": "docker:me/framework:1", "accelerators": "A100-80GB:4"},
        "run": "python -m framework model=smollm2_135m data=orders launch=fsdp2 launch.processes=4 "
        "optimizer=adamw_torch run_dir=s3://b/x",
    }  # fmt: skip
    assert done.err == ""
    several = [*words[:3], "launch.nodes=2", "optimizer=adamw_torch"]
    done = place.run("launch-file", "dstack", "--image", "x", *WORDS, *several, "run_dir=/shared/x")
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["nodes"] == 2
    assert 'launch.nodes=2 optimizer=adamw_torch run_dir=/shared/x launch.rendezvous="$DSTACK_M' in done.out
    done = place.run("launch-file", "dstack", "--image", "x", *WORDS, *several, "run_dir=s3://b/x")
    assert "launch.nodes=2: a run on an object store works on one machine: set run_dir=FOLDER on a disk" in done.err
    local = ["model=smollm2_135m", "data=local_file", "data.path=rows.jsonl", "trainer.device=cpu"]
    done = place.run("launch-file", "kubeflow", "--image", "x", *local)
    assert done.code == 0, done.err
    assert "resourcesPerNode" not in yaml.safe_load(done.out)["spec"]["trainer"]
    assert "data.path=rows.jsonl is a file of this machine" in done.err
    assert "set run_dir=s3://BUCKET/FOLDER to keep the run" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nomad", "--image", "x"], "nomad"),
        (["nomad"], "KIND: invalid choice: 'nomad'"),
        (["dstack", "--image", "x", *WORDS, "plan.gpu=nope"], "plan.gpu=nope: no GPU of that name is known"),
        (["dstack"], "--image"),
        (["dstack", "--image", "x", *WORDS], "set plan.gpu=h100, or trainer.device=cpu for none"),
        (["skypilot", "--image", "x", *WORDS, "plan.gpu=24GiB"], "plan.gpu=24gib: SkyPilot asks for a GPU by its name"),
        (["dstack", "--image", "x", *WORDS, "trainer.device=cpu", "name=hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"],
         "name is a secret, and the file would contain it"),
        *((["dstack", "--image", image, *WORDS], "--image has to be the name of a container image, such as")
          for image in ("user:pw@host/x", "https://host/x", "a b", "")),
        *((["dstack", "--image", "ghcr.io:443/me/x:1@sha256:0a", "--secret", name, *WORDS],
           "--secret takes the name of a variable of the environment, --secret HF_TOKEN, not its value")
          for name in ("HF_TOKEN=hunter2", "", "A B", "A\nB")),
    ],
)  # fmt: skip
def test_what_no_file_can_be_made_of_is_refused(tmp_path: Path, words: list[str], told: str) -> None:
    done = project(tmp_path).run("launch-file", *words)
    assert (done.code, told in done.err, done.out) == (2, True, ""), done.err
    assert "hunter2" not in done.err


@pytest.mark.parametrize(
    ("name", "taken"),
    [("A b", "a-b"), ("x", "run-x"), ("7B", "run-7b"), ("日本", "run"), ("n" * 39 + "-1", "n" * 39)],
)
def test_a_name_is_one_that_all_of_them_take(name: str, taken: str) -> None:
    asked = Asked(name, "image", "", 0, 1, [], [])
    assert {kind(asked).get("name") or kind(asked)["metadata"]["name"] for kind in KINDS.values()} == {taken}


def test_several_nodes_meet_at_the_first() -> None:
    two = asked(nodes=2)
    meets = {kind: str(make(two)) for kind, make in KINDS.items()}
    assert 'launch.rendezvous="$DSTACK_MASTER_NODE_IP:29400"' in meets["dstack"]
    assert "SKYPILOT_NODE_IPS" in meets["skypilot"]
    assert "torchrun -m framework" in meets["kubeflow"]
    with pytest.raises(FrameworkError):
        KINDS["skypilot"](asked(gpu="24gib"))


@pytest.mark.parametrize(
    ("gpu", "skypilot", "dstack"),
    [
        ("a10g", "A10G:1", "A10G:1"),
        ("a100", "A100:1", "A100:40GB:1"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB:1", "A100:80GB:1"),
        ("rtx4060ti_16", "RTX4060TI:1", "RTX4060TI:16GB:1"),
    ],
)
def test_every_card_of_the_plan_has_its_name_in_a_file(tmp_path: Path, gpu: str, skypilot: str, dstack: str) -> None:
    place = project(tmp_path)
    files = [
        place.run("launch-file", kind, "--image", "x", *WORDS, f"plan.gpu={gpu}") for kind in ("skypilot", "dstack")
    ]
    first, second = (yaml.safe_load(done.out)["resources"] for done in files)
    assert (first["accelerators"], second["gpu"]) == (skypilot, dstack)
    assert all(("plan.gpu=a100: the file asks for a100_40" in done.err) == (gpu == "a100") for done in files)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_program_that_a_file_is_for_reads_it(tmp_path: Path, kind: str) -> None:
    python = Path(os.environ.get("LAUNCHERS_ROOT", "/nowhere"), kind, "bin", "python")
    if not python.exists():
        pytest.skip(f"LAUNCHERS_ROOT names no folder with an environment {kind}")
    names = ["h100", "rtx4090", "a100_80", "v100_32", "rtx6000ada", "a6000", *(["24gib"] if kind == "dstack" else [])]
    cases = [asked(gpu, 8, nodes) for gpu, nodes in itertools.product(names, (1, 2))] + [asked("", 0)]
    files = [tmp_path / f"{number}.yaml" for number in range(len(cases))]
    for file, case in zip(files, cases, strict=True):
        file.write_text(yaml.safe_dump(dict(KINDS[kind](case)), sort_keys=False), encoding="utf-8")
    program = BEGIN + "".join(f"    {line}\n" for line in READ[kind].strip().splitlines())
    done = subprocess.run(
        [python, "-c", program, *files],
        env={**os.environ, "HOME": str(tmp_path), "HF_TOKEN": "x", "PYTHONPATH": ""},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
