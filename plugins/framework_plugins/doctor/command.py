"""`python -m framework doctor [OVERRIDES…] [--json]`: what this machine has, and whether a run can start on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext

from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from framework.api.checkup import Found, State
from framework.api.plan import Plan
from framework.api.text import usage
from framework.cli.arguments import (
    check_options,
    check_twice,
    complete,
    load_plugins,
    restore_folders,
    sets_unknown_key,
)
from framework.config.check import loose_words, problems
from framework.config.compose import announce_folders, compose
from framework.config.sources import refusal
from framework.plan.diagnose import diagnose, mistakes
from framework.plan.make import make_plan
from framework.util.errors import FrameworkError, unknown
from framework.util.redact import hide
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
        composed = _composed(words)
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
    check_twice(words)
    words = complete(words)
    check_options(words)
    restore_folders(words)
    load_plugins(words)
    announce_folders()
    return words


def _composed(words: Sequence[str]) -> DictConfig:
    """Compose and check the config.

    Raises:
        FrameworkError: the words are wrong.
    """
    if sets_unknown_key(words) and (lines := mistakes(words)):
        raise FrameworkError("\n".join(lines))
    try:
        config = compose(words)
    except (CompactHydraException, OmegaConfBaseException) as error:
        raise diagnose(error, words) from error
    if found := [*problems(config), *loose_words(config, words)]:
        raise refusal(found, words)
    return config


def _planned(config: DictConfig, words: Sequence[str]) -> tuple[Plan | None, list[Checked]]:
    """Return the plan, or a record for each reason why there is none: its options cannot work together."""
    try:
        return make_plan(config, overrides=tuple(words)), []
    except FrameworkError as error:
        lines = str(error).splitlines()
    found = [checked("config", TOPIC, Found(State.broken, line), needed=True) for line in lines]
    return None, [without_secrets(one) for one in found]
