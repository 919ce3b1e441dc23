"""Whether this machine has what a run needs: `machine.py`, `run.py` and plugins, as `DiagnosticRecord`s."""

from __future__ import annotations

from dataclasses import dataclass

from framework.api import DiagnosticResult, State


@dataclass(frozen=True)
class DiagnosticRecord:
    """A check and its result.

    `needed`: the run cannot start without it. `plugin`: the owner of the check, `core` for the doctor's own.
    """

    name: str
    topic: str
    state: State
    version: str
    detail: str
    fix: str
    needed: bool
    plugin: str
    seconds: float

    @property
    def blocks(self) -> bool:
        """Whether the run cannot start for this."""
        return self.needed and self.state not in {State.ok, State.unknown}


def checked(
    name: str, topic: str, result: DiagnosticResult, *, needed: bool = False, plugin: str = "core", seconds: float = 0.0
) -> DiagnosticRecord:
    """Make a record of what was found."""
    return DiagnosticRecord(
        name, topic, result.state, result.version, result.detail, result.fix, needed, plugin, round(seconds, 2)
    )
