"""`test-gpu`: it runs the tests that come with the distribution, and writes what to send if one fails."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from framework import FrameworkError
from framework.cli.main import run_command
from framework_plugins.gpu import test_command
from framework_plugins.gpu.card import Probe
from tests.support.forked_program import forked, trainers
from tests.support.program import environment

INI = """[pytest]
addopts = --import-mode=importlib --strict-markers
markers =
    gpu: needs a GPU
"""
TESTS = """import pytest

@pytest.mark.gpu
def test_fails():
    raise OSError("/home/anna/secret/model.bin is gone")

def test_passes():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two tests, which the command runs instead of its own."""
    made = tmp_path / "tests"
    made.mkdir()
    (made / "installed.ini").write_text(INI, encoding="utf-8")
    (made / "test_two.py").write_text(TESTS, encoding="utf-8")
    spec = SimpleNamespace(submodule_search_locations=[str(made)])
    monkeypatch.setattr(
        test_command, "find_spec", lambda name: spec if name == "framework_gpu_tests" else find_spec(name)
    )
    probed: dict[str, Any] = {"versions": {"torch": "2.13.0"}, "cuda": "13.0"}
    card: dict[str, str | int] = {"name": "NVIDIA A10", "memory": 24 << 30, "capability": "8.6"}
    found = Probe("3.12.1", "Linux", "580.65", cards=[card], **probed)
    monkeypatch.setattr(test_command, "probe", lambda _: found)
    return made


def test_a_failure_leaves_a_file_to_send_without_folders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "failed.txt"
    assert run_command("test-gpu", [f"--file={file}"]) == 1
    text = file.read_text(encoding="utf-8")
    assert "1 failed, 1 deselected" in text
    assert "NVIDIA A10" in text
    assert "…/model.bin is gone" in text
    assert "anna" not in text
    assert str(folder.parent) not in text
    assert f"{file} has the versions, the GPU and the output" in capsys.readouterr().err


def test_what_passes_leaves_none(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = folder.parent / "failed.txt"
    assert run_command("test-gpu", ["--cpu", f"--file={file}"]) == 0
    assert "1 passed, 1 deselected" in capfd.readouterr().out
    assert not file.exists()


def test_without_pytest_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_command, "find_spec", lambda _: None)
    with pytest.raises(FrameworkError, match=r"test-gpu needs pytest: pip install .*\[test-gpu\]"):
        run_command("test-gpu", [])


def test_the_tests_of_the_distribution_are_about_twenty_on_a_gpu(tmp_path: Path) -> None:
    spec = find_spec("framework_gpu_tests")
    assert spec
    folder = next(iter(spec.submodule_search_locations or ()))
    words = ["-c", f"{folder}/installed.ini", "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]
    env = environment(tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    done = forked(trainers(), ["-m", "pytest", folder, *words], tmp_path, env)
    assert done.code == 0, done.out
    assert 18 <= sum("::" in line for line in done.out.splitlines()) <= 25
