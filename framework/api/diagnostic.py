"""A `Diagnostic` is something that a machine has or lacks (a GPU, a login, a library), and the code that checks it.

    Diagnostic("sox", "sound", "acme.diagnostics:sox", needed=uses_sound)

`python -m framework doctor` runs all of them. The code runs in a process of its own and under a time limit, so it may
import heavy libraries, and may crash.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from framework.api.plan import Plan

__all__ = ["Diagnostic", "DiagnosticResult", "State"]

SECONDS = 60.0
"""The usual limit: on a slow disk a library for training takes ten seconds to import, and others import beside it."""


class State(Enum):
    """The state of a check. `off`: the user may switch it on and has not; `unknown`: the check could not decide."""

    ok = "ok"
    missing = "missing"
    broken = "broken"
    off = "off"
    unknown = "unknown"


@dataclass(frozen=True)
class DiagnosticResult:
    """What a check found: the state, a version if there is one, the details, and the fix.

    `fix` is a command or a sentence, empty if there is none. Neither may hold a secret.
    """

    state: State
    detail: str = ""
    version: str = ""
    fix: str = ""


def never(_plan: object) -> bool:
    """No run needs it."""
    return False


@dataclass(frozen=True)
class Diagnostic:
    """One check.

    Attributes:
        name: what is checked, unique in its topic: `GPU`.
        topic: the heading that it is listed under: `hardware`.
        check: `"package.module:function"`, called as `function(plan)` in a process of its own. It returns a
            `DiagnosticResult`, or None if there is nothing to say. The plan is None if the config is refused.
        needed: whether this plan cannot run without it. It is called in the program itself, so it has to be quick.
        process: checks with the same value run one after the other in one process, so that it starts and slow imports
            happen once; "quick" is that of the checks that import little. By default each has its own.
        seconds: how long it may take.
    """

    name: str
    topic: str
    check: str
    needed: Callable[[Plan], bool] = never
    process: str = ""
    seconds: float = SECONDS

    @staticmethod
    def problem_of(diagnostic: object) -> str:
        """Return why an object from a plugin is not a diagnostic; empty if it is one."""
        if not isinstance(diagnostic, Diagnostic):
            return f"framework_diagnostics gives {type(diagnostic).__name__}, not a Diagnostic"
        texts = (diagnostic.name, diagnostic.topic, diagnostic.check, diagnostic.process)
        if not all(isinstance(text, str) for text in texts) or not (diagnostic.name and diagnostic.topic):
            return f"diagnostic {diagnostic.name!r}: name, topic, check and process have to be text"
        if not re.fullmatch(r"[^:\s]+:[^:\s]+", diagnostic.check):
            return f"diagnostic '{diagnostic.name}': check={diagnostic.check!r} has to be 'package.module:function'"
        if not callable(diagnostic.needed):
            return (
                f"diagnostic '{diagnostic.name}': needed={diagnostic.needed!r} has to be a function that takes a plan"
            )
        if not isinstance(diagnostic.seconds, int | float) or diagnostic.seconds <= 0:
            return f"diagnostic '{diagnostic.name}': seconds={diagnostic.seconds!r} has to be a number above 0"
        return ""
