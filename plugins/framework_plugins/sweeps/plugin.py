"""Prunes the hopeless trials of a sweep."""

from __future__ import annotations

from collections.abc import Iterable

from framework import hookimpl
from framework.api import Step
from framework_plugins.sweeps.trial import hopeless, place


@hookimpl
def framework_prune_reasons(step: Step) -> Iterable[str]:
    """Ask the study, where this run is a trial of one."""
    trial = place()
    return hopeless(trial, step) if trial else ()
