"""The plan of a process that torchrun starts: the size of its group, and the rows of a step after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.api.plan import Plan
from framework.plan.make import make_plan
from framework.rundir.folder import WritableRunFolder
from framework.testing import compose
from framework_plugins.launch.outer import in_group, take_variables
from framework_plugins.lib.group_member import Member

VARIABLES = {
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "PET_NNODES": "2",
}


def planned(monkeypatch: pytest.MonkeyPatch, run_dir: Path, world: int) -> Plan:
    """Plan a run as the first of some processes does: two rows in each of four passes."""
    for name, value in {**VARIABLES, "RANK": "0", "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    words = (
        f"run_dir={run_dir}", "logger=[]", "launch=ddp", "trainer.device=cpu", "trainer.per_device_train_batch_size=2",
        "trainer.gradient_accumulation_steps=4",
    )  # fmt: skip
    return in_group(make_plan(compose(words), overrides=words), Member(0, world, 0))


def test_a_group_of_another_size_keeps_the_rows_of_a_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun = planned(monkeypatch, tmp_path / "run", 4)
    assert (begun.batch, begun.config["launch"]["processes"]) == (32, 4)
    WritableRunFolder.create(begun)
    fewer = planned(monkeypatch, tmp_path / "run", 1)
    assert (fewer.batch, fewer.training.gradient_accumulation_steps) == (32, 16)
    WritableRunFolder.create(fewer)
    assert planned(monkeypatch, tmp_path / "run", 8).training.gradient_accumulation_steps == 2
    told = r"^launch=ddp: 3 processes cannot continue what 1 began, with 32 rows a step: .* Start 1, 2, 4, 8 or 16 proc"
    with pytest.raises(FrameworkError, match=told):
        planned(monkeypatch, tmp_path / "run", 3)


def test_the_variables_of_the_group_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "TORCHELASTIC_RUN_ID": "job"}.items():
        monkeypatch.setenv(name, value)
    assert {**VARIABLES}.items() <= take_variables().items()
    assert not {*VARIABLES} & {*os.environ}
    assert os.environ["TORCHELASTIC_RUN_ID"] == "job"  # by which a run leaves the queue of Slurm alone
