"""The checks of `python -m framework doctor` for this plugin: the versions, and the import in a separate process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from framework import FrameworkError
from framework.api import Diagnostic, DiagnosticResult, State, pip_command
from framework_plugins.unsloth import versions
from framework_plugins.unsloth.checks import trains_with_unsloth
from framework_plugins.unsloth.config import EXTRA, UnslothRefusalError

if TYPE_CHECKING:
    from framework import Plan

SECONDS = 180.0
"""It compiles while it is imported."""
ENVIRONMENT = "in a separate environment: it requires other versions"


def diagnostics() -> Iterator[Diagnostic]:
    """Give it in the order in which they are shown."""
    yield Diagnostic(
        "unsloth",
        "training",
        "framework_plugins.unsloth.diagnostics:unsloth",
        trains_with_unsloth,
        "unsloth" if versions.installed() else "quick",  # its import changes other libraries
        seconds=SECONDS,
    )


def unsloth(_: Plan | None) -> DiagnosticResult:
    """Say whether its versions go together with the others, and import it; that changes other libraries."""
    version = versions.installed()
    if not version:
        return DiagnosticResult(State.missing, "not installed", fix=f"{pip_command([EXTRA])}, {ENVIRONMENT}")
    if problem := versions.conflict():
        return DiagnosticResult(State.broken, problem, version, fix=pip_command([EXTRA]))
    try:
        from framework_plugins.unsloth.import_unsloth import DEVICE_TYPE  # noqa: PLC0415 - what is checked
    except UnslothRefusalError as error:
        return DiagnosticResult(State.broken, error.detail, version, fix=error.fix)
    except FrameworkError as error:  # another library was imported first
        return DiagnosticResult(State.broken, str(error), version)

    untested = versions.untested()
    note = f"; {untested}" if untested else ""
    return DiagnosticResult(
        State.ok, f"FastLanguageModel can be imported, and trains on the {DEVICE_TYPE.upper()}{note}", version
    )
