"""Runs the program as a user does: in a process of its own, in a folder of the test."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.program import environment

ECHO = (sys.executable, "-c", "from framework import cli, testing; testing.install(); cli.main()")
MODULE = (sys.executable, "-m", "framework")


@dataclass(frozen=True)
class Result:
    """What a process left."""

    code: int
    out: str
    err: str


def execute(command: tuple[str, ...], *words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Run a command with these words more, in an environment without keys and proxies."""
    variables = environment(cwd.parent, COLUMNS="200", **(env or {}))
    done = subprocess.run(
        [*command, *words], cwd=cwd, env=variables, capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    return Result(done.returncode, done.stdout, done.stderr)


def program(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Run `python -m framework`."""
    return execute(MODULE, *words, cwd=cwd, env=env)


def echo(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Run it with the echo backend."""
    place = [number for number, word in enumerate(words) if not word.startswith("-")][:1] or [len(words)]
    options, overrides = words[: place[0]], words[place[0] :]
    return execute(ECHO, *options, "model=echo", "trainer=echo", *overrides, cwd=cwd, env=env)
