"""Runs the program as a user does: in a process of its own, in a folder of the test."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.forks import STARTS, Call, Copy, Forks
from tests.support.program import environment

ECHO = (
    sys.executable,
    "-c",
    "from framework import testing; from framework.cli.main import main; testing.install(); main()",
)
MODULE = (sys.executable, "-m", "framework")


@dataclass(frozen=True)
class Result:
    """What a process left."""

    code: int
    out: str
    err: str


@functools.cache
def forks() -> Forks:
    """Return what `launch` forks from: one for a test process, started when it is first needed."""
    return Forks(environment(Path("/nowhere")), *STARTS)


@functools.cache
def trainers() -> Forks:
    """Return one that has imported what opens a model and converts one, too, which takes six seconds.

    Not `conversion` and `gguf`: which ones are imported is what some tests are about.
    """
    more = ("framework_plugins.hf.backend", "framework_plugins.exports.gguf.convert.lora")
    return Forks(environment(Path("/nowhere"), HF_HUB_OFFLINE="1"), *STARTS, *more)


@functools.cache
def loggers() -> Forks:
    """Return one that has imported W&B."""
    return Forks(environment(Path("/nowhere")), *STARTS, "wandb")


def execute(command: tuple[str, ...], *words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Run a command with these words more, in an environment without keys and proxies."""
    variables = environment(cwd.parent, COLUMNS="200", **(env or {}))
    done = subprocess.run(
        [*command, *words], cwd=cwd, env=variables, capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    return Result(done.returncode, done.stdout, done.stderr)


def launch(
    command: tuple[str, ...], *words: str, cwd: Path, env: Mapping[str, str] | None = None, of: Forks | None = None
) -> Result:
    """Do the same with `MODULE` or `ECHO` by a fork, or in earnest where `env` holds what Python reads at its start."""
    if any(name.startswith("PYTHON") for name in {*(env or {})} - {"PYTHONPATH"}):
        return execute(command, *words, cwd=cwd, env=env)
    variables = environment(cwd.parent, COLUMNS="200", **(env or {}))
    return forked(of or forks(), [*command[1:], *words], cwd, variables)


def forked(forks: Forks, command: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float = 120) -> Result:
    """Run `-m MODULE WORDS…` or `-c CODE WORDS…` by a fork of that Python."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        code = forks.run(Call([*command], str(cwd), env, os.devnull, str(out), str(err)), timeout)
        return Result(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def begun(*words: str, cwd: Path) -> Copy:
    """Begin to run `python -m framework`, and do not wait."""
    return forks().start(Call([*MODULE[1:], *words], str(cwd), environment(cwd.parent), *[os.devnull] * 3))


def program(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Run `python -m framework`."""
    return launch(MODULE, *words, cwd=cwd, env=env)


def echo(*words: str, cwd: Path, env: Mapping[str, str] | None = None, of: Forks | None = None) -> Result:
    """Run it with the echo backend."""
    place = [number for number, word in enumerate(words) if not word.startswith("-")][:1] or [len(words)]
    options, overrides = words[: place[0]], words[place[0] :]
    return launch(ECHO, *options, "model=echo", "trainer=echo", *overrides, cwd=cwd, env=env, of=of)
