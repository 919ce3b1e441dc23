"""A controller and nodes of a real Slurm. `SLURM_ROOT` may name a folder with its programs.

Debian's packages need not be installed: `apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins
libhwloc15 libmunge2 libjwt2 liblua5.1-0 libb64-0d libyajl2`, and `dpkg -x` each into the folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hosts import Host
from tests.support.program import environment

CONFIG = """
ClusterName=test
SlurmctldHost={hosts[0].name}({hosts[0].address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmdTimeout=10
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
PluginDir={plugins}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_interval=1
JobRequeue=0
ReturnToService=2
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP
PartitionName=short Nodes=ALL MaxTime=10
"""


@dataclass(frozen=True)
class Slurm:
    """A cluster: calls its programs in a folder.

    Attributes:
        folder: where they are called.
        env: the variables with which they are.
        hosts: its nodes; the controller runs on the first.
        daemon: the command of a node's daemon.
        log: the file of what the daemons print.
    """

    folder: Path
    env: Mapping[str, str]
    hosts: Sequence[Host]
    daemon: Sequence[str]
    log: Path

    def __call__(self, *words: str) -> str:
        process = subprocess.run(
            [*self.hosts[0].network, *words],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return process.stdout

    def start_node(self, host: Host) -> None:
        """Start the daemon of a node."""
        host.start(self.daemon, self.log, **self.env)

    def job(self, job_id: str) -> str:
        """Return what Slurm knows of a job."""
        return self("scontrol", "show", "job", job_id)

    def queue_now(self, job_id: str) -> None:
        """Start a job again that is back in the queue; Slurm waits two minutes by default."""
        wait(lambda: "JobState=PENDING" in self.job(job_id))
        self("scontrol", "update", f"JobId={job_id}", "StartTime=now")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextmanager
def started_slurm(tmp_path: Path, hosts: Sequence[Host] = ()) -> Iterator[Slurm]:
    """Start a controller and its nodes, by default one on this machine, and return what calls a program of Slurm."""
    root = Path(os.environ.get("SLURM_ROOT", "/"))
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    places = [str(root / "usr" / "sbin"), str(root / "usr" / "bin")]
    path = os.pathsep.join([*places, os.environ["PATH"]])
    names = ("slurmctld", "slurmd", "slurmstepd")
    programs = [shutil.which(name, path=path) or shutil.which(f"{name}-wlm", path=path) for name in names]
    if not all(programs):
        pytest.skip("Slurm is not installed, and SLURM_ROOT names no folder with it")
    if os.getuid():
        pytest.skip("a node of Slurm is started as root")
    folder = tmp_path / "slurm"
    for name in ("state", "bin"):
        (folder / name).mkdir(parents=True)
    for name, program in zip(names, programs, strict=True):
        # The installation of Debian's packages makes these links; the programs do not start by another name.
        (folder / "bin" / name).symlink_to(str(program))
    controller, daemon, stepd = (str(folder / "bin" / name) for name in names)
    hosts = hosts or [Host(socket.gethostname().partition(".")[0], "127.0.0.1")]
    nodes = "\n".join(f"NodeName={host.name} NodeAddr={host.address} CPUs=1 State=UNKNOWN" for host in hosts)
    config, plugins, ports = folder / "slurm.conf", libraries / "slurm-wlm", (free_port(), free_port())
    text = CONFIG.format(hosts=hosts, nodes=nodes, ports=ports, folder=folder, plugins=plugins)
    config.write_text(text, encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n", encoding="utf-8")
    # Python may have a libpython of its own, in place of that of the system.
    own = "" if root == Path("/") else f"{libraries}:"
    variables = environment(tmp_path, PATH=path, SLURM_CONF=str(config), LD_LIBRARY_PATH=f"{own}{plugins}")
    slurm = Slurm(tmp_path, variables, hosts, [daemon, "-D", "-d", stepd], folder / "output")
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(host.kill)
        hosts[0].start([controller, "-D", "-i"], slurm.log, **variables)
        for host in hosts:
            slurm.start_node(host)
        wait(
            lambda: (
                slurm("sinfo", "--noheader", "--partition=all", "--format=%T %D").split() == ["idle", str(len(hosts))]
            )
        )
        yield slurm


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
