"""Which machine of a group this is, and what Slurm may not have started."""

from __future__ import annotations

import pytest

from framework import FrameworkError
from framework_plugins.launch import place
from framework_plugins.launch.config import DdpConfig

NAMES = (
    "SLURM_NODEID", "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST", "SLURM_NNODES", "SLURM_STEP_NUM_NODES",
    "SLURM_NTASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE",
)  # fmt: skip
SLURM = DdpConfig(machines=4, main_address="slurm")
JOB = {"NODEID": "3", "JOB_NODELIST": "gpu[1-4]", "NNODES": "4", "NTASKS_PER_NODE": "1"}


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def started(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in {**JOB, **more}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


def test_without_slurm_it_is_as_the_config_says() -> None:
    there = DdpConfig(machines=2, rank=1, main_address="first", main_port=1234)
    place.check(there)
    assert (place.rank(there), place.host(there)) == (1, "first")
    assert (place.rank(DdpConfig()), place.host(DdpConfig())) == (0, "localhost")


def test_in_a_job_it_is_as_slurm_says(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch)
    place.check(SLURM)
    assert (place.rank(SLURM), place.host(SLURM)) == (3, "gpu1")


def test_outside_of_a_job_it_is_refused_when_it_is_to_run_and_not_before() -> None:
    assert place.rank(SLURM) == 0
    with pytest.raises(
        FrameworkError, match=r"^launch\.main_address=slurm: Slurm did not start this\. Start it by srun"
    ):
        place.check(SLURM)


def refusal() -> str:
    """Return what is told of a job that is refused."""
    with pytest.raises(FrameworkError) as refused:
        place.check(SLURM)
    return str(refused.value)


@pytest.mark.parametrize("name", ["NNODES", "STEP_NUM_NODES"])
def test_a_job_of_more_machines_than_meet_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    started(monkeypatch, **{name: "8"})
    told = (
        "launch.machines=4, and Slurm gives this job 8: set launch.machines=8, or ask Slurm for --nodes=4 "
        "(hydra.launcher.nodes=4)"
    )
    assert refusal() == told


@pytest.mark.parametrize(
    ("name", "value"), [("NTASKS_PER_NODE", "8"), ("STEP_TASKS_PER_NODE", "8(x4)"), ("STEP_TASKS_PER_NODE", "1(x3),8")]
)
def test_several_tasks_on_a_machine_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    started(monkeypatch, **{name: value})
    told = (
        "Slurm starts this 8 times on a machine, and each would start launch.processes of its own: ask for "
        "--ntasks-per-node=1 (hydra.launcher.tasks_per_node=1)"
    )
    assert refusal() == told


def test_what_is_wrong_with_a_job_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, NNODES="2", NTASKS_PER_NODE="3")
    assert [line.partition(" ")[0] for line in refusal().splitlines()] == ["launch.machines=4,", "Slurm"]


def test_a_step_that_srun_starts_counts_and_not_the_whole_job(monkeypatch: pytest.MonkeyPatch) -> None:
    started(
        monkeypatch, NNODES="9", STEP_NUM_NODES="4", NTASKS_PER_NODE="8", STEP_TASKS_PER_NODE="1(x4)",
        STEP_NODELIST="gpu[2,4-6]",
    )  # fmt: skip
    place.check(SLURM)
    assert place.host(SLURM) == "gpu2"


def test_another_job_that_this_is_in_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, NNODES="8", NTASKS_PER_NODE="8")
    place.check(DdpConfig(machines=2, rank=1, main_address="first"))
