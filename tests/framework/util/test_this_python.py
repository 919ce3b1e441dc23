"""`python -m framework` with a Python that has none of its libraries, as in a clone outside of the environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from framework.util import this_python

ROOT = Path(__file__).parents[3]


def bare(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-S", *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_line_says_which_python_to_use(tmp_path: Path) -> None:
    (tmp_path / "framework").symlink_to(ROOT / "framework")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    ended = bare("-m", "framework", "chat", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "has no omegaconf: framework is installed for another Python. Instead, " in ended.stderr


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        ([".venv/bin/python", "Makefile"], "type .venv/bin/python -m framework"),
        ([".venv/Scripts/python.exe"], f"type {Path('.venv/Scripts/python.exe')} -m framework"),
        (["Makefile"], "type make quickstart, which makes an environment in .venv"),
        ([], "activate the environment that it is installed in"),
    ],
)
def test_the_remedy_is_what_is_there(
    files: list[str], remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert this_python.remedy(tmp_path) == remedy


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_untested_version_is_refused_by_its_number(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert (
        this_python.problem()
        == f"Python {version[0]}.{version[1]} cannot run framework, which needs 3.11, 3.12 or 3.13"
    )


def test_other_code_that_imports_the_package_is_not_ended() -> None:
    ended = bare("-c", "import framework", cwd=ROOT)
    assert "ModuleNotFoundError" in ended.stderr
