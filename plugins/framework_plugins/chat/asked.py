"""How the model of a run was asked in its training: the system prompt of the rows, and what all prompts begin with."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api.records import DataResult, EvalResult
from framework.api.run_folder import SavedRun
from framework.api.text import shared_start

SYSTEM, USER = "system: ", "user: "
"""How the turns of a prompt begin in the record of an evaluation, where it has several."""


def system_prompt(run: SavedRun) -> str:
    """Return the system prompt that most training rows had; empty where they had none.

    Raises:
        FrameworkError: a file of the run cannot be read.
    """
    data = run.record(DataResult, "data.json")
    # Without a record of the rows, or where few have a prompt of their own, the config's is what they were given.
    return (data.system_prompt if data else "") or run.config.get("format", {}).get("system_prompt") or ""


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
        prompt.rpartition(f"\n{USER}")[2] if prompt.startswith((SYSTEM, USER)) and f"\n{USER}" in prompt else prompt
        for prompt in prompts
    ]
