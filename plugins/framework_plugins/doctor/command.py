"""`python -m framework doctor [OVERRIDES…] [--json]`: what this machine has, and whether a run can start on it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from omegaconf import DictConfig
from rich.console import Console

from framework import FrameworkError, Plan
from framework.api import DiagnosticResult, State, hide
from framework.api.program import CommandParser, complete_overrides, load_config, make_plan
from framework_plugins.doctor import DiagnosticRecord, checked
from framework_plugins.doctor.config import DoctorCommandConfig
from framework_plugins.doctor.gather import DiagnosticRun, registered, without_secrets
from framework_plugins.doctor.run import TOPIC
from framework_plugins.doctor.show import as_json, show

CANNOT_RUN = 1
MAX_WIDTH = 120
"""Columns: longer lines are hard to read."""


class DoctorCommand:
    """Checks the machine, and the run that the overrides describe."""

    def __init__(self, config: DoctorCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print what was found; return 1 if the run cannot start here."""
        parser = CommandParser("doctor", DoctorCommandConfig.__doc__)
        parser.add_overrides("the run to check, as on the command line of a run")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsed = parser.read(arguments)
        words = complete_overrides(parsed.overrides)
        composed = load_config(words)
        plan, refusals = _make_plan(composed, words)
        examined = DiagnosticRun(plan, list(composed.plugins)).records(list(registered()))
        records = [*examined, *refusals]
        redacted = [hide(word) for word in words]
        if parsed.json:
            print(json.dumps(as_json(records, redacted), indent=1, ensure_ascii=False))  # noqa: T201
        else:
            console = Console(highlight=False, emoji=False, markup=False)
            console.width = min(console.width, MAX_WIDTH)
            show(console, records, redacted)
        return CANNOT_RUN if any(record.blocks for record in records) else 0


def _make_plan(config: DictConfig, words: Sequence[str]) -> tuple[Plan | None, list[DiagnosticRecord]]:
    """Return the plan, or a record for each reason why there is none, such as options that cannot work together."""
    try:
        return make_plan(config, overrides=tuple(words)), []
    except FrameworkError as error:
        lines = str(error).splitlines()
    records = [checked("config", TOPIC, DiagnosticResult(State.broken, line), needed=True) for line in lines]
    return None, [without_secrets(record) for record in records]
