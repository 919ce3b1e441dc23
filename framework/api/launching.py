"""For authors of launchers: run a plan here, send it to other processes, and receive what they report. Provisional.

This module re-exports names from the rooms above `api`, so nothing in the core imports it.
"""

from __future__ import annotations

from framework.run.interruption import SIGNALS
from framework.run.pipeline import run
from framework.run.processes import PickledPlan, end_with, pickle_plan, stale
from framework.run.worker import CONTROLS, ENDED, GROUP, JOB, RESULT, STEPS, STOP, Ended, Job, open_pipe
from framework.rundir.status import note_failure

__all__ = [
    "CONTROLS",
    "ENDED",
    "GROUP",
    "JOB",
    "RESULT",
    "SIGNALS",
    "STEPS",
    "STOP",
    "Ended",
    "Job",
    "PickledPlan",
    "end_with",
    "note_failure",
    "open_pipe",
    "pickle_plan",
    "run",
    "stale",
]
