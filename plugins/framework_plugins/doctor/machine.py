"""Checks of the machine: Python, platform, memory, disk, and the libraries that the framework requires."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

from framework.api import GIB, DiagnosticResult, State, cache_dir, display_path, host_memory, installed, plugins
from framework_plugins.doctor import DiagnosticRecord, checked

MIN_FREE_GIB = 0.5
"""Free disk space below which no run gets through: an adapter, its checkpoint and its copy."""
MIN_PYTHON = (3, 11)


def machine(outputs: Path) -> Iterator[DiagnosticRecord]:
    """Look at this machine; runs would write below `outputs`."""
    yield checked("Python", "machine", _python(), needed=True)
    yield checked("platform", "machine", DiagnosticResult(State.ok, platform.platform()))
    yield checked("memory", "machine", _memory())
    yield checked("disk, outputs", "machine", disk(outputs, "run_dir=FOLDER names another one"), needed=True)
    yield checked("disk, cache", "machine", disk(cache_dir(), "FRAMEWORK_CACHE names another one"), needed=True)


def _python() -> DiagnosticResult:
    oldest = ".".join(map(str, MIN_PYTHON))
    executable = display_path(Path(sys.executable))
    if sys.version_info < MIN_PYTHON:
        fix = f"make an environment with Python {oldest} or later"
        return DiagnosticResult(State.broken, f"below {oldest}, {executable}", platform.python_version(), fix)
    return DiagnosticResult(State.ok, executable, platform.python_version())


def _memory() -> DiagnosticResult:
    memory = host_memory()
    limit = ", the limit of this container" if memory.limited else ""
    return DiagnosticResult(
        State.ok, f"{memory.total / GIB:.1f} GiB{limit}; {memory.available / GIB:.1f} GiB available"
    )


def disk(folder: Path, otherwise: str) -> DiagnosticResult:
    """Look at the disk where `folder` lies or would be made; `otherwise` says how to take another one."""
    folder = folder.expanduser().absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(existing)
    detail = f"{usage.free / GIB:.1f} GiB free of {usage.total / GIB:.1f}, for {display_path(folder)}"
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        return DiagnosticResult(
            State.broken, f"{existing} cannot be written to", fix=f"let this user write there; {otherwise}"
        )
    if usage.free < MIN_FREE_GIB * GIB:
        return DiagnosticResult(State.broken, detail, fix=f"free {MIN_FREE_GIB} GiB there; {otherwise}")
    return DiagnosticResult(State.ok, detail)


def libraries(name: str = "framework-finetune") -> Iterator[DiagnosticRecord]:
    """Hold what is installed against what the distribution `name` asks for."""
    if installed(name) is None:
        detail = f"{name} is not installed here, so its requirements are unknown"
        yield checked("requirements", "libraries", DiagnosticResult(State.unknown, detail, fix="pip install -e ."))
        return
    for requirement in sorted(map(Requirement, requires(name) or []), key=lambda parsed: parsed.name.lower()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            result = _library(requirement)
            # A version outside the range may do; that of a library that is absent cannot.
            yield checked(requirement.name, "libraries", result, needed=result.state is State.missing)


def _library(requirement: Requirement) -> DiagnosticResult:
    requirement.marker = None
    version, install = installed(requirement.name), f"pip install '{requirement}'"
    if version is None:
        return DiagnosticResult(State.missing, f"not installed; {requirement.specifier} is required", fix=install)
    if not requirement.specifier.contains(version, prereleases=True):
        return DiagnosticResult(State.broken, f"{requirement.specifier} is required", version, install)
    return DiagnosticResult(State.ok, version=version)


def broken_plugins() -> Iterator[DiagnosticRecord]:
    """Name the plugins, and parts of them, that are left out because they are broken."""
    for part in plugins().skipped_plugins():
        prefix = "" if part.what == "the plugin" else f"{part.what}: "
        origin = f" ({part.package})" if part.package else ""
        result = DiagnosticResult(State.broken, f"{prefix}{part.reason}{origin}", fix="python -m framework plugins")
        yield checked(part.plugin, "plugins", result, plugin=part.plugin)
