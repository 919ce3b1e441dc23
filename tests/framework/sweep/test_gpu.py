"""GPUs that are handed out to processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from framework.hooks.session import Session
from framework.sweep import gpu
from tests.support.program import environment

TAKES = (
    "import sys; from framework.hooks.session import Session; from framework.sweep import gpu; "
    "session = Session(); print(gpu.claim_gpu(session), flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize(
    ("given", "names"),
    [("0,1", ["0", "1"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("", []), ("-1", []), ("0,-1,1", ["0"]), ("3", ["3"])],
)
def test_the_gpus_are_those_that_the_variable_names(
    monkeypatch: pytest.MonkeyPatch, given: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpu.visible() == names


def test_without_the_variable_the_driver_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU-1\necho GPU-2\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpu.visible() == ["GPU-1", "GPU-2"]
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert gpu.visible() == []


@pytest.mark.parametrize("given", ["", "3"])
def test_where_there_is_nothing_to_choose_none_is_taken(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpu.claim_gpu(Session()) is None


def started(folder: Path) -> subprocess.Popen[str]:
    """Start a process that takes one of the GPUs 0 and 1 of this test and keeps it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKES],
        env=environment(folder, CUDA_VISIBLE_DEVICES="0,1", TMPDIR=str(folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_each_process_has_one_and_the_next_one_waits_until_a_process_is_gone(tmp_path: Path) -> None:
    first, second = started(tmp_path), started(tmp_path)
    assert first.stdout is not None
    assert second.stdout is not None
    names = [first.stdout.readline().strip(), second.stdout.readline().strip()]
    assert sorted(names) == ["0", "1"]
    third = started(tmp_path)
    assert third.stderr is not None
    assert third.stderr.readline() == "all 2 GPUs are taken by other trials: this one waits\n"
    first.kill()  # the system lets go of what it held
    first.communicate()
    assert third.stdout is not None
    assert third.stdout.readline().strip() == names[0]
    for process in (second, third):
        process.communicate()
