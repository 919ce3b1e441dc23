"""The checks of `python -m framework doctor` for exports: the quantizer of GGUF files, and their servers."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from framework.api.diagnostic import DiagnosticResult, State
from framework.api.machine import missing
from framework.api.plan import Plan
from framework.api.text import summarize_error
from framework_plugins.exports.llama.library import NEEDED

BINARY = "llama-quantize"
FIX = f"pip install {NEEDED}"
SECONDS = 20


def _py_sync() -> Any:
    return importlib.import_module("llama_cpp_py_sync._cffi_bindings").get_lib()


def _python() -> Any:
    return importlib.import_module("llama_cpp")


PACKAGES: dict[str, Callable[[], Any]] = {"llama-cpp-py-sync": _py_sync, "llama-cpp-python": _python}
"""Distributions that bring llama.cpp as a library, and how it is loaded. The first comes as a wheel for CPUs."""


def quantizer(_: Plan | None) -> DiagnosticResult:
    """Look for a quantizer of llama.cpp: a package that has one, or the program itself on PATH."""
    broken = []
    for name, load in PACKAGES.items():
        if missing([name]):
            continue
        try:
            library = load()
            library.llama_model_quantize_default_params()
            library.llama_model_quantize  # noqa: B018 - it is there, or this raises
        except Exception as error:  # noqa: BLE001 - whatever a native library raises while it is loaded
            broken.append(f"{name} {version(name)}: {summarize_error(error)}")
            continue
        return DiagnosticResult(State.ok, f"llama_model_quantize of {name}", version(name))
    if program := shutil.which(BINARY):
        return DiagnosticResult(State.ok, program)
    if broken:
        return DiagnosticResult(State.broken, "; ".join(broken), fix=FIX)
    return DiagnosticResult(
        State.missing, f"none of {', '.join(PACKAGES)} is installed, and no {BINARY} is on PATH", fix=FIX
    )


def ollama(_: Plan | None) -> DiagnosticResult:
    """Look for the program, and ask for its version."""
    program = shutil.which("ollama")
    if program is None:
        return DiagnosticResult(State.missing, "no ollama on PATH", fix="https://ollama.com/download")
    try:
        done = subprocess.run(  # noqa: S603 - a fixed question
            [program, "--version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return DiagnosticResult(State.broken, f"{program}: {summarize_error(error)}")
    lines = (done.stdout or done.stderr).strip().splitlines()
    said = next((line for line in lines if "version" in line), program)  # it also warns where no server runs
    return DiagnosticResult(State.broken if done.returncode else State.ok, said)
