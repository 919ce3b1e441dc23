"""Runs checks that may crash, hang or print in a separate process, each under a time limit."""

from __future__ import annotations

import importlib
import operator
import pickle
from collections.abc import Sequence
from typing import Any

from framework import FrameworkError
from framework.api import Caught, DiagnosticResult, ProcessError, PythonProcess, State, error_location, summarize_error
from framework.api.program import load_file

ENVIRONMENT = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Threads of OpenMP wait asleep: those of several processes side by side would spin against each other for minutes.
MLflow writes a file into the home folder when it is imported, unless its telemetry is off."""


class DiagnosticProcess(PythonProcess):
    """A process that is started when there is something to do. `files` are plugins that it has to load."""

    def __init__(self, files: Sequence[str] = ()) -> None:
        super().__init__(env=ENVIRONMENT, discard=True)
        self.files = list(files)

    def ask(self, function: str, *arguments: Any, seconds: float) -> DiagnosticResult | None:
        """Have `"package.module:function"` called there and return what it found."""
        try:
            packed = pickle.dumps(arguments)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            detail = f"its arguments cannot be passed to another process: {summarize_error(error)}"
            return DiagnosticResult(State.unknown, detail)
        try:
            result: DiagnosticResult | None = self.call(
                f"{__name__}:answer", self.files, function, packed, seconds=seconds
            )
        except ProcessError as error:
            if error.timed_out:  # a busy machine is slow, and nothing is broken
                return DiagnosticResult(State.unknown, f"{error} (slow)")
            return DiagnosticResult(State.broken, str(error))
        return result


def answer(files: Sequence[str], function: str, packed: bytes) -> DiagnosticResult | None:
    """Call a function with the arguments in `packed`; whatever it raises means that something is broken."""
    module, _, attribute = function.partition(":")
    result, failed = None, Caught()
    with failed:
        for file in files:  # its options may be what the plan is made of
            load_file(file)
        call = operator.attrgetter(attribute)(importlib.import_module(module))
        result = call(*pickle.loads(packed))  # noqa: S301 - our own parent wrote it
    if error := failed.error:  # it is the result
        if isinstance(error, FrameworkError):
            return DiagnosticResult(State.broken, str(error))
        state = State.missing if isinstance(error, ModuleNotFoundError) else State.broken
        return DiagnosticResult(state, f"{summarize_error(error)}{error_location(error)}")
    if isinstance(result, DiagnosticResult):
        # A version of torch is a text of its own class, which would import torch where it is unpickled.
        return DiagnosticResult(result.state, str(result.detail), str(result.version), str(result.fix))
    if result is None:
        return None
    return DiagnosticResult(State.broken, f"{function} returns a {type(result).__name__}, not a DiagnosticResult")
