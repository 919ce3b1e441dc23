"""Calls a function in a separate Python process: a crash there costs no training."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.process import ProcessError, PythonProcess
from framework.api.text import signal_name

QUIET = {"TQDM_DISABLE": "1", "NO_LOCAL_GGUF": "1", "TOKENIZERS_PARALLELISM": "false", "GGML_NO_BACKTRACE": "1"}


def run(doing: str, function: str, log: Path, **arguments: Any) -> Any:
    """Call `"package.module:function"` there, and return what it returns.

    Args:
        doing: what it does, for messages: "the conversion to GGUF".
        function: the function.
        log: what the process prints; it stays where something went wrong.
        arguments: what the function takes.

    Raises:
        FrameworkError: the function raised, or its process was killed.
    """
    try:
        with PythonProcess(log=log, env=QUIET, override=True) as process:
            returned = process.call(function, **arguments)
    except ProcessError as error:
        raise FrameworkError(f"{doing} failed: {error} (all of it: {log})") from error
    except FrameworkError:
        log.unlink()
        raise
    log.unlink()
    return returned


def execute(doing: str, command: Sequence[str], log: Path) -> None:
    """Run a program to its end; the same arguments and errors as `run`."""
    with log.open("w", encoding="utf-8") as lines:
        done = subprocess.run(  # noqa: S603 - our own words
            command, stdout=lines, stderr=subprocess.STDOUT, env=os.environ | QUIET, check=False
        )
    if not done.returncode:
        log.unlink()
        return
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    killed = f", killed by {signal_name(-done.returncode)}" if done.returncode < 0 else ""
    last = said[-1].strip() if said else "it said nothing"
    raise FrameworkError(f"{doing} failed{killed}: {last} (all of it: {log})")
