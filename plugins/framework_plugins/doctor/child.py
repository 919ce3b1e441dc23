"""The child process of `worker.py`: reads one call after the other from standard input, and answers each.

Not for users. What a library prints goes to standard error, whatever it writes to; the answers have standard output
for themselves. The end of standard input ends the process.
"""

from __future__ import annotations

import importlib
import json
import operator
import os
import pickle
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from framework.api.checkup import Found, State
from framework.api.errors import FrameworkError
from framework.api.registry import load_file
from framework.api.text import one_line, place


def main() -> None:
    """Answer until there is nothing more to do."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    paths, files = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
    sys.path[:] = paths
    try:
        for file in files:
            load_file(file)
        told = ""
    except FrameworkError as error:  # its options may be what the plan is made of
        told = str(error)
    while True:
        try:
            function, packed = pickle.load(sys.stdin.buffer)  # noqa: S301 - as above
        except EOFError:
            return
        found = Found(State.broken, told) if told else answer(function, packed)
        plain = None if found is None else [found.state.value, found.detail, found.version, found.fix]
        answers.write(json.dumps(plain) + "\n")
        answers.flush()


def _end_with_parent(parent: int) -> None:
    """End where the parent was killed, whatever is being looked at."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def answer(function: str, packed: bytes) -> Found | None:
    """Call a function with the arguments in `packed`; whatever it raises means that something is broken."""
    try:
        found = call(function, pickle.loads(packed))  # noqa: S301 - our own parent wrote it
    except FrameworkError as error:
        return Found(State.broken, str(error))
    except ModuleNotFoundError as error:
        return Found(State.missing, f"{one_line(error)}{place(error)}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a library's or a third-party plugin's code; that it raises is the result
        return Found(State.broken, f"{one_line(error)}{place(error)}")
    if found is None or isinstance(found, Found):
        return found
    return Found(State.broken, f"{function} gives a {type(found).__name__}, no Found")


def call(function: str, arguments: Sequence[Any]) -> Any:
    """Import `"package.module:function"` and call it."""
    module, _, attribute = function.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))(*arguments)


if __name__ == "__main__":
    main()
