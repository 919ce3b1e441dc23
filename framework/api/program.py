"""For authors of commands, launchers, sweeps and speakers: what the program itself does. Provisional.

    overrides = complete_overrides(["+experiment=quickstart"])
    plan = make_plan(load_config(overrides), overrides=tuple(overrides))

A launcher sends a plan to other processes and receives what they report. The texts are those that all loggers share,
each in its own format. This module re-exports names from the rooms above `api`, so nothing in the core imports it.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from framework.api.protocols import Command, Launcher, Speaker, SpeakerSource
from framework.api.records import load as load_record
from framework.api.records import save as save_record
from framework.api.registry import load_file
from framework.api.run_folder import is_resumed
from framework.api.schema import CommandConfig, LaunchConfig, SpeakerConfig, VerdictConfig
from framework.api.text import (
    Fact,
    Lines,
    brief,
    error_traceback,
    facts_of,
    figures,
    fill_in,
    settings_text,
    short_keys,
    signal_name,
    this_program,
    winner_text,
)
from framework.cli.arguments import complete_overrides, reject_duplicate_overrides
from framework.data.prompts import read_prompts
from framework.plan.load import load_config, restored
from framework.plan.make import check_model, make_plan
from framework.run.interruption import handle_signals
from framework.run.pipeline import run as run_plan
from framework.rundir.folder import check_writable, locked
from framework.rundir.read import newest_run, read_run
from framework.rundir.status import note_failure
from framework.util.command import CommandParser
from framework.util.errors import DoesNotFitError, Interrupted

if TYPE_CHECKING:
    from framework.api.text.bars import Bars
    from framework.data.lengths import stored_prompts, stored_rows
    from framework.data.stage import load_data
    from framework.evaluate.verdict import Comparison, compare_systems

__all__ = [
    "Bars",
    "Command",
    "CommandConfig",
    "CommandParser",
    "Comparison",
    "DoesNotFitError",
    "Fact",
    "Interrupted",
    "LaunchConfig",
    "Launcher",
    "Lines",
    "Speaker",
    "SpeakerConfig",
    "SpeakerSource",
    "VerdictConfig",
    "brief",
    "check_model",
    "check_writable",
    "compare_systems",
    "complete_overrides",
    "error_traceback",
    "facts_of",
    "figures",
    "fill_in",
    "handle_signals",
    "is_resumed",
    "load_config",
    "load_data",
    "load_file",
    "load_record",
    "locked",
    "make_plan",
    "newest_run",
    "note_failure",
    "read_prompts",
    "read_run",
    "reject_duplicate_overrides",
    "restored",
    "run_plan",
    "save_record",
    "settings_text",
    "short_keys",
    "signal_name",
    "stored_prompts",
    "stored_rows",
    "this_program",
    "winner_text",
]


# rich's bars take a quarter of a second to import, and the rows of a store numpy and Arrow; few calls compare.
_LATER = {
    "Bars": "framework.api.text.bars",
    "Comparison": "framework.evaluate.verdict",
    "compare_systems": "framework.evaluate.verdict",
    "load_data": "framework.data.stage",
    "stored_prompts": "framework.data.lengths",
    "stored_rows": "framework.data.lengths",
}


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module 'framework.api.program' has no attribute '{name}'")
    return getattr(_import_module(_LATER[name]), name)
