"""`python -m framework doctor [OVERRIDES…] [--json]`: what this machine has, and whether a run can start on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext

from omegaconf import DictConfig
from rich.console import Console

from framework.api.checkup import Found, State
from framework.api.commands import complete_overrides, load_config, make_plan
from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.text import hide, unknown, usage
from framework_plugins.doctor import Checked, checked
from framework_plugins.doctor.config import DoctorCommandConfig
from framework_plugins.doctor.gather import Examination, registered, without_secrets
from framework_plugins.doctor.run import TOPIC
from framework_plugins.doctor.show import as_json, show

JSON = "--json"
USAGE = usage(DoctorCommandConfig)
CANNOT_RUN = 1
WIDEST = 120
"""Columns: longer lines are hard to read."""


class DoctorCommand:
    """Looks at the machine and at the run that the words make."""

    def __init__(self, config: DoctorCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print what was found; 1 where the run cannot start here."""
        words = _words(arguments)
        composed = load_config(words)
        plan, refused = _planned(composed, words)
        errors = Console(stderr=True)
        with errors.status("looking at this machine …") if errors.is_terminal else nullcontext():
            examined = Examination(plan, list(composed.plugins)).records(list(registered()))
        found = [*examined, *refused]
        shown = [hide(word) for word in words]
        if JSON in arguments:
            print(json.dumps(as_json(found, shown), indent=1, ensure_ascii=False))  # noqa: T201
        else:
            console = Console(highlight=False, emoji=False, markup=False)
            console.width = min(console.width, WIDEST)
            show(console, found, shown)
        return CANNOT_RUN if any(one.blocks for one in found) else 0


def _words(arguments: Sequence[str]) -> list[str]:
    """Return the overrides, completed as those of a run are.

    Raises:
        FrameworkError: a word is none.
    """
    words = [word for word in arguments if word != JSON]
    for word in words:
        if word.startswith("-"):
            raise FrameworkError(f"{unknown('option', word, [JSON])} Usage: {USAGE}")
        if "=" not in word and not word.startswith("~"):
            raise FrameworkError(f"'{word}' is no override like key=value. Usage: {USAGE}")
    return complete_overrides(words)


def _planned(config: DictConfig, words: Sequence[str]) -> tuple[Plan | None, list[Checked]]:
    """Return the plan, or a record for each reason why there is none: its options cannot work together."""
    try:
        return make_plan(config, overrides=tuple(words)), []
    except FrameworkError as error:
        lines = str(error).splitlines()
    found = [checked("config", TOPIC, Found(State.broken, line), needed=True) for line in lines]
    return None, [without_secrets(one) for one in found]
