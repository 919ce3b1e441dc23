"""Human-readable texts: what a run found, needs and resulted in; numbers, overrides, errors; without secrets.

All loggers use these texts, each in its own format.
"""

from framework.api.fields import as_text
from framework.api.text.forecast import forecast_facts
from framework.api.text.overrides import as_overrides, brief, override_key, quoted, short_keys
from framework.api.text.progress import Lines, clock, is_animated
from framework.api.text.results import (
    CONTROL,
    Fact,
    ancestor_text,
    count,
    data_facts,
    difference,
    headline,
    health_facts,
    is_share,
    model_name,
    number,
    outcome_text,
    readiness,
    share,
    shared_start,
    visible,
)
from framework.api.text.sweeps import figures, settings_text, sweep_facts, winner_text
from framework.util.command import shell_word, this_program
from framework.util.errors import (
    display_path,
    display_run,
    error_location,
    error_traceback,
    nearest,
    signal_name,
    summarize_error,
    unknown,
)
from framework.util.redact import HIDDEN, fill_in, hide, redact

__all__ = [
    "CONTROL",
    "HIDDEN",
    "Fact",
    "Lines",
    "ancestor_text",
    "as_overrides",
    "as_text",
    "brief",
    "clock",
    "count",
    "data_facts",
    "difference",
    "display_path",
    "display_run",
    "error_location",
    "error_traceback",
    "figures",
    "fill_in",
    "forecast_facts",
    "headline",
    "health_facts",
    "hide",
    "is_animated",
    "is_share",
    "model_name",
    "nearest",
    "number",
    "outcome_text",
    "override_key",
    "quoted",
    "readiness",
    "redact",
    "settings_text",
    "share",
    "shared_start",
    "shell_word",
    "short_keys",
    "signal_name",
    "summarize_error",
    "sweep_facts",
    "this_program",
    "unknown",
    "visible",
    "winner_text",
]
