"""Slurm, without a Slurm: what would be submitted, what a job reads of its machines, and a job that is put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from submitit.core.utils import DelayedSubmission

from framework.api.process_group import Engine, ProcessGroup
from framework.config.compose import compose
from framework.plan.make import make_plan
from framework.sweep.folder import start_anew
from framework_plugins.launch import slurm
from framework_plugins.launch.config import Fsdp2Config
from tests.support.tiny import chat_rows, tiny_llama

SBATCH = """#!{python}
import pathlib, shutil, sys
shutil.copy(sys.argv[-1], pathlib.Path(__file__).parent / "submitted.sh")
print("Submitted batch job 17")
"""
PATIENCE = 120


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu9", "gpu7"),
        ("gpu[03-05,9],login", "gpu03"),
        ("a[1,4]", "a1"),
        ("rack[2-3]-node.local", "rack2-node.local"),
    ],
)
def test_the_first_of_slurms_machines_is_read(hosts: str, first: str) -> None:
    assert slurm.first(hosts) == first


def test_a_process_of_a_job_knows_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NODEID", "2")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[3-4,6]")
    assert (slurm.node(), slurm.first_host()) == (2, "gpu3")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "gpu6")
    assert slurm.first_host() == "gpu6"


def started(words: list[str], cwd: Path, **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **more}
    return subprocess.Popen(
        [sys.executable, "-m", "framework", *words],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def until(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not seen():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def test_a_run_on_several_machines_is_submitted_as_one_task_on_each(tmp_path: Path, data_file: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sbatch", "srun", "sacct"):
        (tools / name).write_text(SBATCH.format(python=sys.executable), encoding="utf-8")
        (tools / name).chmod(0o755)
    words = [
        "-m", "hydra/launcher=submitit_slurm", "model=llama1b", "data=local_file", f"data.path={data_file}",
        "launch=fsdp2", "launch.machines=2", "launch.processes=8", "launch.main_address=slurm", "trainer.save_steps=50",
        "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=1", "hydra.launcher.gpus_per_node=8",
        "hydra.launcher.cpus_per_task=64", "hydra.launcher.timeout_min=720", "hydra.launcher.partition=gpu",
        "hydra.launcher.signal_delay_s=300", "hydra.sweep.dir=out", "seed=1",
    ]  # fmt: skip
    process = started(words, tmp_path, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
    jobs = tmp_path / "out" / ".submitit"
    try:
        until(lambda: any(jobs.rglob("*_submitted.pkl")), process)
    finally:
        process.kill()
        process.communicate()
    text = (tools / "submitted.sh").read_text(encoding="utf-8")
    asked = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")}
    wanted = {
        "nodes=2", "ntasks-per-node=1", "gpus-per-node=8", "cpus-per-task=64", "time=720", "partition=gpu",
        "signal=USR2@300",
    }  # fmt: skip
    assert wanted <= asked
    command = next(line for line in text.splitlines() if line.startswith("srun "))
    assert "-m submitit.core._submit" in command
    (job,) = (DelayedSubmission.load(file) for file in jobs.rglob("*_submitted.pkl"))
    submitted = make_plan(compose(job.args[0]), run_dir=tmp_path / "run").launch.config
    assert isinstance(submitted, Fsdp2Config)
    assert submitted.group() == ProcessGroup(Engine.fsdp2, processes=8, machines=2)
    assert submitted.main_address == "slurm"


def tasks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of a job in which its task runs."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "submitit.core._submit" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.slow
def test_a_job_that_is_preempted_is_put_back_and_goes_on_where_it_was(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(24))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    words = [
        "-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5",
        "model=local", f"model.path={base}", "data=local_file", "data.path=rows.jsonl", "audit=[]", "logger=[jsonl]",
        "trainer.device=cpu", "trainer.dtype=fp32", "trainer.max_steps=600", "trainer.save_steps=20", "adapter.r=4",
        "trainer.warmup_steps=1", "stages=[data,train]", "hydra.sweep.dir=out", "seed=1",
    ]  # fmt: skip
    process = started(words, tmp_path)
    run = tmp_path / "out" / "0"
    until(lambda: any((run / ".resume").glob("step-*/manifest.json")), process)
    (task, *_) = tasks(process)
    task.send_signal(signal.SIGUSR2)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    trained = json.loads((run / "train.json").read_text(encoding="utf-8"))
    assert trained["steps"] == 600
    assert trained["resumed"] >= 20
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "step"]
    assert steps[-600:] == list(range(1, 601))
    assert not (run / ".resume").exists()


@pytest.mark.parametrize(("node", "left"), [(None, []), ("0", []), ("1", ["report.json", "status.json"])])
def test_of_a_point_on_several_machines_only_the_first_drops_what_was_before(
    node: str | None, left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    if node is not None:
        monkeypatch.setenv("SLURM_NODEID", node)
    for name in ("status.json", "report.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")

    start_anew(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == left
