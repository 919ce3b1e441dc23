"""What all prompts of a run begin with."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api import EvalResult, SavedRun
from framework_plugins.lib.sentences import shared_start

SYSTEM_PREFIX, USER_PREFIX = "system: ", "user: "
"""How the turns of a prompt begin in the record of an evaluation, if it has several."""


def common_beginning(run: SavedRun) -> str:
    """Return the lines that all prompts of the run begin with; empty if there are none.

    Raises:
        FrameworkError: a file of the run cannot be read.
    """
    result = run.record(EvalResult, "evaluate.json") or run.record(EvalResult, "baseline.json")
    prompts = _last_turns([sample.prompt for sample in result.samples] if result else [])
    return prompts[0][: shared_start(prompts)] if prompts else ""


def _last_turns(prompts: Sequence[str]) -> list[str]:
    """Return what the user asks last; of a prompt of one turn that is all of it."""
    return [
        prompt.rpartition(f"\n{USER_PREFIX}")[2]
        if prompt.startswith((SYSTEM_PREFIX, USER_PREFIX)) and f"\n{USER_PREFIX}" in prompt
        else prompt
        for prompt in prompts
    ]
