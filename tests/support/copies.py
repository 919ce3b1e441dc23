"""Copies of a Python that has imported torch, in place of the processes that `PythonProcess` starts.

Each of these would import torch and transformers, which takes longer than most of what it is asked. A copy has its own
variables, output and exit code, and signals stop it like any process. What only a true start shows has tests
without copies: `tests/framework/util/test_process.py` and `tests/plugins/exports/llama/test_process.py`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from tests.support.forked_program import trainers
from tests.support.forks import Copy

UNBUFFERED = "import sys; [stream.reconfigure(line_buffering=True) for stream in (sys.stdout, sys.stderr)]; "
"""What `-u` does."""


def popen(
    command: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], stdout: IO[bytes], **_: Any
) -> Copy:
    """Do what a `PythonProcess` asks of `subprocess.Popen`."""
    code = UNBUFFERED + command[command.index("-c") + 1]
    with Path(os.devnull).open("rb") as nothing:
        files = (nothing.fileno(), stdout.fileno(), stdout.fileno(), *pass_fds)
        return trainers().copy(["-c", code], str(Path.cwd()), env, files)


@contextmanager
def in_place_of_processes() -> Iterator[None]:
    """Let each `PythonProcess` be a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("framework.util.process.subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": popen}))
        yield
