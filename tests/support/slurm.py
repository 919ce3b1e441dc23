"""A controller and a node of a real Slurm. `SLURM_ROOT` may name a folder with its programs.

Debian's packages need not be installed: `apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins
libhwloc15 libmunge2 libjwt2 liblua5.1-0 libb64-0d libyajl2`, and `dpkg -x` each into the folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.program import environment

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


@dataclass(frozen=True)
class Slurm:
    """A cluster: calls its programs in a folder.

    Attributes:
        folder: where they are called.
        env: the variables with which they are.
    """

    folder: Path
    env: Mapping[str, str]

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*words], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextmanager
def started_slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Start a controller and a node, and return what calls a program of Slurm."""
    root = Path(os.environ.get("SLURM_ROOT", "/"))
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    places = [str(root / "usr" / "sbin"), str(root / "usr" / "bin")]
    path = os.pathsep.join([*places, os.environ["PATH"]])
    names = ("slurmctld", "slurmd", "slurmstepd")
    found = [shutil.which(each, path=path) or shutil.which(f"{each}-wlm", path=path) for each in names]
    if not all(found):
        pytest.skip("Slurm is not installed, and SLURM_ROOT names no folder with it")
    if os.getuid():
        pytest.skip("a node of Slurm is started as root")
    folder = tmp_path / "slurm"
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    for name, program in zip(names, found, strict=True):
        # The installation of Debian's packages makes these links; the programs do not start by another name.
        (folder / "bin" / name).symlink_to(str(program))
    *daemons, stepd = (str(folder / "bin" / name) for name in names)
    config = folder / "slurm.conf"
    host, ports = socket.gethostname().partition(".")[0], (free_port(), free_port())
    plugins = libraries / "slurm-wlm"
    text = CONFIG.format(host=host, user="root", ports=ports, folder=folder, plugins=plugins)
    config.write_text(text, encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n", encoding="utf-8")
    variables = environment(tmp_path, PATH=path, SLURM_CONF=str(config), LD_LIBRARY_PATH=f"{libraries}:{plugins}")

    call = Slurm(tmp_path, variables)
    with (folder / "output").open("wb") as output:
        commands = ([daemons[0], "-D", "-i"], [daemons[1], "-D", "-d", stepd])
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
