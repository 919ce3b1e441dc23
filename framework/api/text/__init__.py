"""Texts for people: what a run found, will need and came to; numbers, overrides, errors, and secrets taken out.

Loggers say the same of a run, each in its own form.
"""

from framework.api.fields import as_text
from framework.api.text.forecast import forecast_facts
from framework.api.text.overrides import as_overrides, override_key, quoted
from framework.api.text.results import (
    Fact,
    count,
    data_facts,
    difference,
    figures,
    is_share,
    number,
    share,
    shared_start,
    visible,
)
from framework.api.text.thoughts import without_thought
from framework.api.text.training import health_facts
from framework.util.errors import nearest, one_line, place, short, signal_name, unknown
from framework.util.redact import HIDDEN, hide, redact

__all__ = [
    "HIDDEN",
    "Fact",
    "as_overrides",
    "as_text",
    "count",
    "data_facts",
    "difference",
    "figures",
    "forecast_facts",
    "health_facts",
    "hide",
    "is_share",
    "nearest",
    "number",
    "one_line",
    "override_key",
    "place",
    "quoted",
    "redact",
    "share",
    "shared_start",
    "short",
    "signal_name",
    "unknown",
    "visible",
    "without_thought",
]
