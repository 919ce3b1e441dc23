"""Makefile: what a person who types `make quickstart` sees of the installation."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    """The command that installs with a Python that only prints its arguments."""
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return ["make", "-C", str(tmp_path), "--no-print-directory", "VENV=venv", "venv/quickstart"]


def installs(lines: list[str]) -> list[bool]:
    """Return for each call of pip whether it is quiet."""
    return ["--quiet" in line for line in lines if line.startswith("-m pip")]


def test_in_a_pipe_the_installation_is_quiet(made: list[str]) -> None:
    done = subprocess.run(made, capture_output=True, text=True, check=True)
    assert installs(done.stdout.splitlines()) == [True, True, True]
    assert len(done.stdout.splitlines()) == 4  # a line of our own before them


def test_in_a_terminal_pip_shows_its_bars(made: list[str]) -> None:
    here, there = pty.openpty()
    shown = b""
    with subprocess.Popen(made, stdout=there, stderr=there) as process:
        os.close(there)
        with suppress(OSError):  # what Linux says when nothing has it open any more; a read gives 4 KiB at most
            while more := os.read(here, 1 << 16):
                shown += more
    os.close(here)
    assert process.returncode == 0
    assert installs(shown.decode().splitlines()) == [True, False, False]  # the first brings pip itself up to date
