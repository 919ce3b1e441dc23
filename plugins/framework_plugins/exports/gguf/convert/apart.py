"""Calls a function in a separate Python process: a crash there costs no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.process import ProcessError, PythonProcess
from framework.api.registry import counting

QUIET = {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "GGML_NO_BACKTRACE": "1"}


def run(doing: str, function: str, log: Path, *, seconds: float | None = None, **arguments: Any) -> Any:
    """Call `"package.module:function"` there, and return what it returns.

    Args:
        doing: what it does, for messages: "the conversion to GGUF".
        function: the function.
        log: what the process prints; it stays where something went wrong.
        seconds: after which the process is killed; by default never.
        arguments: what the function takes.

    Raises:
        FrameworkError: the function raised, took too long, or its process was killed.
    """
    try:
        with PythonProcess(log=log, env=QUIET, override=True) as process, counting(None, "", doing):
            returned = process.call(function, seconds=seconds, **arguments)
    except ProcessError as error:
        raise FrameworkError(f"{doing} failed: {error} (full output: {log})") from error
    except FrameworkError:
        log.unlink()
        raise
    log.unlink()
    return returned
