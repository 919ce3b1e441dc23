"""llama.cpp as the wheel `llama-cpp-py-sync` brings it: loaded once, and quiet."""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from framework import FrameworkError
from framework.api import missing, pip_command, summarize_error

NEEDED = "llama-cpp-py-sync==0.11739"
"""A machine builds these wheels of each llama.cpp, so the one that the tests ran is taken and no other."""
EXTRA = "framework-finetune[gguf]"
_OPENMP = "libgomp.so"
_OPENMP_PACKAGE = "libgomp1"
"""Its name in Debian and Ubuntu."""
_ERROR = 4
"""GGML_LOG_LEVEL_ERROR."""
_MAX_ERRORS = 20
"""Errors that are remembered, for a message."""


class Library(NamedTuple):
    """The functions of llama.h, CFFI's types, and the errors that llama.cpp reported."""

    functions: Any
    types: Any
    errors: deque[str]
    log: Any
    """The function that llama.cpp calls; it has to live as long as the library."""


@functools.cache
def library() -> Library:
    """Load llama.cpp. It prints nothing: its errors are kept, the rest is dropped.

    Raises:
        FrameworkError: it is not installed, or does not load on this machine.
    """
    if missing([NEEDED]):
        raise FrameworkError(f"GGUF files need the library {NEEDED}: {pip_command([EXTRA])}")
    bindings = importlib.import_module("llama_cpp_py_sync._cffi_bindings")
    try:
        functions = _load(bindings)
    except (RuntimeError, OSError) as error:
        fix = f" Install it: apt install {_OPENMP_PACKAGE}" if _OPENMP in str(error) else ""
        raise FrameworkError(f"llama.cpp of {NEEDED} does not load: {summarize_error(error)}{fix}") from error
    types, errors = bindings.get_ffi(), deque[str](maxlen=_MAX_ERRORS)

    def keep(level: int, text: Any, _: Any) -> None:
        if level == _ERROR:
            errors.append(types.string(text).decode("utf-8", errors="replace").strip())

    log = types.callback("ggml_log_callback", keep)
    functions.llama_log_set(log, types.NULL)
    functions.llama_backend_init()
    return Library(functions, types, errors, log)


def _load(bindings: Any) -> Any:
    try:
        return bindings.get_lib()
    except (RuntimeError, OSError) as error:
        torch = find_spec("torch")
        if _OPENMP not in str(error) or torch is None or torch.origin is None:
            raise
        # A minimal system, an image above all, has no OpenMP of its own, but torch's wheels bring one. The loader takes
        # a library that is loaded already for one that is asked for by the same name.
        for file in Path(torch.origin).with_name("lib").glob(f"{_OPENMP}*"):
            ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
        return bindings.get_lib()


def first_error() -> str:
    """Return the first error that llama.cpp reported, the most specific one, as the end of a sentence."""
    error = next((line for line in library().errors if line), "")
    return f": {error}" if error else ""
