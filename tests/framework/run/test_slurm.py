"""A job of a real Slurm, on one node, that is warned and continues; `tests/support/slurm.py` says what it needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.slurm import Slurm, started_slurm, wait

pytestmark = pytest.mark.slow

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


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Return a cluster."""
    with started_slurm(tmp_path) as cluster:
        yield cluster


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
