"""The checks of `python -m framework doctor` for exports: the quantizer of GGUF files, and their servers."""

from __future__ import annotations

import shutil
import subprocess

from framework import FrameworkError, Plan
from framework.api import DiagnosticResult, State, installed, summarize_error
from framework_plugins.exports.llama.library import NEEDED, library

FIX = f"pip install {NEEDED}"
TIMEOUT = 20


def quantizer(_plan: Plan | None) -> DiagnosticResult:
    """Load llama.cpp as `exporter=gguf` does, and look whether it quantizes."""
    name, _, tested = NEEDED.partition("==")
    version = installed(name)
    if version is None:
        return DiagnosticResult(State.missing, f"{name} is not installed", fix=FIX)
    try:
        library().functions.llama_model_quantize  # noqa: B018 - it is there, or this raises
    except (FrameworkError, AttributeError) as error:
        problem = f"exporter=gguf needs {tested}" if version != tested else summarize_error(error)
        return DiagnosticResult(State.broken, f"{name} {version}: {problem}", fix=FIX)
    return DiagnosticResult(State.ok, f"llama_model_quantize of {name}", version)


def ollama(_: Plan | None) -> DiagnosticResult:
    """Look for the program, and ask for its version."""
    program = shutil.which("ollama")
    if program is None:
        return DiagnosticResult(State.missing, "no ollama on PATH", fix="https://ollama.com/download")
    try:
        process = subprocess.run(  # noqa: S603 - a fixed question
            [program, "--version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return DiagnosticResult(State.broken, f"{program}: {summarize_error(error)}")
    lines = (process.stdout or process.stderr).strip().splitlines()
    text = next((line for line in lines if "version" in line), program)  # it also warns where no server runs
    return DiagnosticResult(State.broken if process.returncode else State.ok, text)
