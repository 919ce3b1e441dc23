"""What accelerate is told of a group, and that nothing else tells it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from accelerate.commands import launch

from framework.run.worker import GROUP
from framework_plugins.launch.agent import GRACE, JOIN, Asked, command, threads

OWN = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config: {fsdp_version: 1, fsdp_sharding_strategy: SHARD_GRAD_OP}
mixed_precision: fp16
num_processes: 7
num_machines: 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of a run on a machine of a user who once used `accelerate config`."""
    own = tmp_path / "default_config.yaml"
    own.write_text(OWN, encoding="utf-8")
    monkeypatch.setattr(launch, "default_config_file", str(own))
    (tmp_path / "run" / GROUP).mkdir(parents=True)
    return tmp_path / "run"


def started(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Return what accelerate would start torchrun with."""
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(launch, "multi_gpu_launcher", seen.append)
    launch.launch_command(command(Asked.read(asked.text)))
    (found,) = seen
    return found


def test_one_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(str(folder), str(folder / GROUP), 1, 2, 0, "localhost", 29400)
    found = started(asked, monkeypatch)
    assert (found.module, found.training_script, found.training_script_args) == (
        True,
        "framework.run.worker",
        [str(folder)],
    )
    assert (found.num_processes, found.num_machines, found.machine_rank) == (2, 1, 0)
    assert (found.standalone, found.local_addr, found.shutdown_timeout) == (True, "localhost", GRACE)
    assert (found.mixed_precision, found.use_fsdp, found.use_deepspeed) == ("no", False, False)
    assert found.log_dir == str(folder / GROUP)


def test_one_process_is_a_group_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = started(Asked(str(folder), str(folder / GROUP), 1, 1, 0, "localhost", 29400), monkeypatch)
    assert found.num_processes == 1


def test_one_of_several_machines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = started(Asked(str(folder), str(folder), 4, 8, 3, "first", 1234), monkeypatch)
    assert (found.num_processes, found.num_machines, found.machine_rank) == (32, 4, 3)
    assert (found.main_process_ip, found.main_process_port, found.same_network) == ("first", 1234, True)
    assert (found.rdzv_backend, found.rdzv_conf) == ("static", f"timeout={JOIN}")
    assert not hasattr(found, "standalone")


@pytest.mark.parametrize(("said", "given"), [("3", 3), ("", 2), ("0", 2), ("4,2", 2), (None, 2)])
def test_each_process_has_its_share_of_the_processor(
    said: str | None, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework_plugins.launch.agent.cpu_cores", lambda: 8)
    if said is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads(4) == given
    if given != 3:
        assert threads(16) == 1
