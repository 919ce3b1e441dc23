"""`launch.on=slurm` on a real Slurm; `tests/support/slurm.py` says what it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ending
from tests.support.program import framework
from tests.support.slurm import Slurm, started_slurm, wait
from tests.support.sweeps import prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
WORDS = [*ending.WORDS, "launch.on=slurm", "launch.slurm.gpus=0", "trainer.end=never"]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Return a cluster."""
    with started_slurm(tmp_path) as cluster:
        yield cluster


def state(run: Path) -> str:
    file = run / "status.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["state"]) if file.exists() else ""


def test_a_job_is_submitted_saves_when_it_is_warned_and_continues(slurm: Slurm, tmp_path: Path) -> None:
    place = prepare(tmp_path / "place")
    done = framework(*WORDS, "run_dir=run", cwd=place, env=slurm.env)
    assert done.returncode == 0, done.stderr
    found = re.match(r"Slurm job (\d+): ", done.stdout)
    assert found, done.stdout
    job, output = found[1], place / "outputs" / "slurm" / f"{found[1]}_0_log.err"
    wait(lambda: state(place / "run") == "running")
    waiting = framework(*WORDS, "run_dir=other", cwd=place, env=slurm.env)  # the cluster is full
    assert "PENDING" in waiting.stdout, waiting.stdout + waiting.stderr
    slurm("scancel", waiting.stdout.split()[2].strip(":"))
    slurm("scancel", "--signal=USR2", job)  # as Slurm does before the time limit
    wait(lambda: state(place / "run") == "interrupted")
    wait(lambda: "JobState=PENDING" in slurm("scontrol", "show", "job", job))
    (place / "enough").touch()
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm waits two minutes by default
    wait(lambda: state(place / "run") == "finished")
    assert "Slurm has put job" not in output.read_text(encoding="utf-8")  # submitit did
    wait(lambda: "JobState=COMPLETED" in slurm("scontrol", "show", "job", job))
    refused = framework(*WORDS, "launch.slurm.partition=nowhere", "run_dir=third", cwd=place, env=slurm.env)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-2].startswith("Slurm refuses the job: ")
