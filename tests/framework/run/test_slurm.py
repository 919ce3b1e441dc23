"""A job of a real Slurm, on one node, that is warned and continues. `SLURM_ROOT` may name a folder with its programs.

Debian's packages need not be installed: `apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins
libhwloc15 …`, and `dpkg -x` into the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.program import environment

pytestmark = pytest.mark.slow

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
PluginDir={plugins}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""
BUSY = """
import os, sys, time
from framework import testing
from framework.cli import main
from framework.testing import echo

trained = echo.EchoModel.train

def train(self, rows, validation, run):
    print("started", os.environ.get("SLURM_RESTART_COUNT", "0"), flush=True)
    while "SLURM_RESTART_COUNT" not in os.environ:
        if error := run.interruption():
            raise error
        time.sleep(0.1)
    return trained(self, rows, validation, run)

echo.EchoModel.train = train
testing.install()
main.main()
"""
WORDS = "model=echo trainer=echo data=local_file data.path=rows.jsonl logger=[] run_dir=run"
Slurm = Callable[..., str]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Start a controller and a node, and return what calls a program of Slurm."""
    root = Path(os.environ.get("SLURM_ROOT", "/"))
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    places = [str(root / "usr" / "sbin"), str(root / "usr" / "bin")]
    path = os.pathsep.join([*places, os.environ["PATH"]])
    daemons = [shutil.which(name, path=path) for name in ("slurmctld", "slurmd")]
    stepd = shutil.which("slurmstepd", path=path)
    if not all(daemons) or stepd is None:
        pytest.skip("Slurm is not installed, and SLURM_ROOT names no folder with it")
    if os.getuid():
        pytest.skip("a node of Slurm is started as root")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    config = folder / "slurm.conf"
    host, ports = socket.gethostname().partition(".")[0], (free_port(), free_port())
    plugins = libraries / "slurm-wlm"
    text = CONFIG.format(host=host, user="root", ports=ports, folder=folder, plugins=plugins)
    config.write_text(text, encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n", encoding="utf-8")
    variables = environment(tmp_path, PATH=path, SLURM_CONF=str(config), LD_LIBRARY_PATH=f"{libraries}:{plugins}")

    def call(*words: str) -> str:
        done = subprocess.run(
            [*words], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    with (folder / "output").open("wb") as output:
        commands = ([str(daemons[0]), "-D", "-i"], [str(daemons[1]), "-D", "-d", stepd])
        started = [subprocess.Popen(each, env=variables, stdout=output, stderr=output) for each in commands]
        try:
            wait(lambda: "idle" in call("sinfo", "--noheader", "--format=%T"))
            yield call
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(30)


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except subprocess.CalledProcessError:  # it is not up yet
            pass
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.3)


def submit(slurm: Slurm, place: Path) -> str:
    """Submit a run, and return its job when it trains."""
    rows = "".join(json.dumps({"instruction": f"say {number}", "output": f"{number}"}) + "\n" for number in range(8))
    (place / "rows.jsonl").write_text(rows, encoding="utf-8")
    (place / "busy.py").write_text(BUSY, encoding="utf-8")
    script = (
        f"#!/bin/bash\n#SBATCH --requeue --open-mode=append --output=job.txt\nexec {sys.executable} busy.py {WORDS}\n"
    )
    (place / "job.sh").write_text(script, encoding="utf-8")
    job = slurm("sbatch", "--parsable", "job.sh").strip()
    wait(lambda: (place / "job.txt").exists() and "started 0" in (place / "job.txt").read_text(encoding="utf-8"))
    return job


def state(place: Path) -> str:
    return str(json.loads((place / "run" / "status.json").read_text(encoding="utf-8"))["state"])


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_a_job_that_is_warned_is_queued_again_and_goes_on(slurm: Slurm, tmp_path: Path, name: str) -> None:
    job = submit(slurm, tmp_path)
    slurm("scancel", "--batch", f"--signal={name}", job)
    wait(lambda: "Slurm has put job" in (tmp_path / "job.txt").read_text(encoding="utf-8"))
    assert state(tmp_path) == "interrupted"
    wait(lambda: "JobState=PENDING" in slurm("scontrol", "show", "job", job))
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm waits two minutes by default
    wait(lambda: state(tmp_path) == "finished")
    told = (tmp_path / "job.txt").read_text(encoding="utf-8")
    assert "started 1" in told
    assert "kept, because an earlier start of this run" not in told  # the echo model has no key for its base


def test_a_job_that_is_canceled_stays_away(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path)
    slurm("scancel", "--full", job)
    wait(lambda: state(tmp_path) == "interrupted")
    wait(lambda: "JobState=CANCELLED" in slurm("scontrol", "show", "job", job))
    assert "Slurm has put job" not in (tmp_path / "job.txt").read_text(encoding="utf-8")
