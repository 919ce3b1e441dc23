"""Copies of a Python that has imported torch, in place of the processes that `PythonProcess` starts.

Each of these would import torch and transformers, which takes longer than most of what it is asked. A copy has its own
variables, output and exit code, and signals stop it like any process. What only a true start shows has tests
without copies: `tests/framework/util/test_process.py` and `tests/plugins/exports/llama/test_process.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
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

AGENT = "import sys; sys.executable = {!r}; from framework_plugins.launch.agent import main; sys.exit(main())"
CLIENT = """#!{} -IS
import json, os, signal, socket, sys

told = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
told.connect({!r})
socket.send_fds(told, [json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
process = int(told.recv(32))
signal.signal(signal.SIGTERM, lambda *_: os.kill(process, signal.SIGTERM))
sys.exit(int(told.recv(32)) & 255)
"""
"""What torchrun's agent starts instead of `python -P -m MODULE…`: it asks for a copy that does it, and ends with it."""


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


@contextmanager
def groups(place: Path) -> Iterator[None]:
    """Let the agent of `launch=ddp` and `fsdp2`, and the processes that it starts, be copies; write into a folder."""
    client = place / "python"
    client.write_text(CLIENT.format(sys.executable, trainers().path), encoding="utf-8")
    client.chmod(0o700)

    @contextmanager
    def agent(command: Sequence[str], *, env: Mapping[str, str], **_: Any) -> Iterator[Copy]:
        lives, ours = os.pipe()
        try:
            words = ["-c", AGENT.format(str(client)), *command[-2:]]
            copy = trainers().copy(words, str(Path.cwd()), env, (lives, 1, 2))
        finally:
            os.close(lives)
        try:
            yield copy
        finally:
            os.close(ours)
            copy.wait(60)

    with pytest.MonkeyPatch.context() as patch:
        stand_in = SimpleNamespace(**{**vars(subprocess), "Popen": agent})
        patch.setattr("framework_plugins.launch.launcher.subprocess", stand_in)
        yield
