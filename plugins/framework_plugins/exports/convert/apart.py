"""Calls a function in a separate Python process: a crash there costs no training.

`run` starts the process; `python -m framework_plugins.exports.convert.apart` is its other end.
"""

from __future__ import annotations

import importlib
import json
import operator
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.api.errors import USER_MISTAKE, FrameworkError
from framework.api.text import one_line, signal_name

QUIET = {"TQDM_DISABLE": "1", "NO_LOCAL_GGUF": "1", "TOKENIZERS_PARALLELISM": "false"}


def run(doing: str, function: str, log: Path, **arguments: Any) -> None:
    """Call `"package.module:function"` there, with arguments that JSON can carry.

    Args:
        doing: what it does, for messages: "the conversion to GGUF".
        function: the function.
        log: what the process prints; it stays where something went wrong.
        arguments: what the function takes.

    Raises:
        FrameworkError: the function raised, or its process was killed.
    """
    job = json.dumps([sys.path, function, arguments])
    execute(doing, [sys.executable, "-P", "-m", __name__], log, job=job)


def execute(doing: str, command: Sequence[str], log: Path, *, job: str = "") -> None:
    """Run a program to its end; the same arguments and errors as `run`."""
    with log.open("w", encoding="utf-8") as lines:
        done = subprocess.run(  # noqa: S603 - our own words
            command, input=job, text=True, stdout=lines, stderr=subprocess.STDOUT, env=os.environ | QUIET, check=False
        )
    if not done.returncode:
        log.unlink()
        return
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = said[-1].strip() if said else "it said nothing"
    if job and done.returncode == USER_MISTAKE:
        log.unlink()
        raise FrameworkError(last)
    message = f"{doing} failed{_how(done.returncode)}: {last} (all of it: {log})"
    raise FrameworkError(message)


def _how(code: int) -> str:
    return f", killed by {signal_name(-code)}" if code < 0 else ""


def main() -> int:
    """Take one call from standard input, make it, and end; the last line printed says what went wrong."""
    sys.path[:], function, arguments = json.load(sys.stdin)
    module, _, name = function.partition(":")
    try:
        operator.attrgetter(name)(importlib.import_module(module))(**arguments)
    except FrameworkError as error:
        print(str(error).replace("\n", " "), file=sys.stderr)  # noqa: T201 - to the log
        return USER_MISTAKE
    except Exception as error:  # noqa: BLE001 - whatever a converter raises; the log has all of it
        traceback.print_exc()
        print(one_line(error), file=sys.stderr)  # noqa: T201 - to the log
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
