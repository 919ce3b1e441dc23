"""Runs checks that may crash, hang or print in a separate process, each under a time limit."""

from __future__ import annotations

import importlib
import operator
import pickle
from collections.abc import Sequence
from typing import Any

from framework.api.checkup import Found, State
from framework.api.errors import FrameworkError
from framework.api.process import ProcessError, PythonProcess
from framework.api.registry import load_file
from framework.api.text import one_line, place

AT_EASE = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Threads of OpenMP wait asleep: those of several processes side by side would spin against each other for minutes."""


class Worker(PythonProcess):
    """A process that is started when there is something to do. `files` are plugins that it has to load."""

    def __init__(self, files: Sequence[str] = ()) -> None:
        super().__init__(env=AT_EASE)
        self.files = list(files)

    def ask(self, function: str, *arguments: Any, seconds: float) -> Found | None:
        """Have `"package.module:function"` called there and return what it found."""
        try:
            packed = pickle.dumps(arguments)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            detail = f"what it is asked cannot be handed to another process: {one_line(error)}"
            return Found(State.unknown, detail)
        try:
            found: Found | None = self.call(f"{__name__}:answer", self.files, function, packed, seconds=seconds)
        except ProcessError as error:
            return Found(State.broken, str(error))
        return found


def answer(files: Sequence[str], function: str, packed: bytes) -> Found | None:
    """Call a function with the arguments in `packed`; whatever it raises means that something is broken."""
    module, _, attribute = function.partition(":")
    try:
        for file in files:  # its options may be what the plan is made of
            load_file(file)
        call = operator.attrgetter(attribute)(importlib.import_module(module))
        found = call(*pickle.loads(packed))  # noqa: S301 - our own parent wrote it
    except FrameworkError as error:
        return Found(State.broken, str(error))
    except ModuleNotFoundError as error:
        return Found(State.missing, f"{one_line(error)}{place(error)}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a library's or a stranger's code; that it raises is the answer
        return Found(State.broken, f"{one_line(error)}{place(error)}")
    if found is None or isinstance(found, Found):
        return found
    return Found(State.broken, f"{function} gives a {type(found).__name__}, no Found")
