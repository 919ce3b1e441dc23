"""For authors of launchers: to run a plan here, to hand it to other processes, to hear from them. Provisional.

This module looks up: it hands on what stands in rooms above `api`. Nothing in the core imports it.
"""

from __future__ import annotations

from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.protocols import Model
from framework.plan.fit import check_fits
from framework.run.import_order import stale
from framework.run.pipeline import SCRATCH, planned, run
from framework.run.plan_transfer import PickledPlan, check_distributed, end_with, pickle_plan
from framework.run.worker import ENDED, GROUP, JOB, Ended, Job
from framework.rundir.status import note_failure

__all__ = [
    "ENDED",
    "GROUP",
    "JOB",
    "SCRATCH",
    "Ended",
    "Job",
    "PickledPlan",
    "check_distributed",
    "check_fits",
    "end_with",
    "load_data",
    "note_failure",
    "pickle_plan",
    "planned",
    "run",
    "stale",
]


def load_data(plan: Plan, model: Model) -> Data:
    """Read, format, tokenize, verify, split and audit the rows of a run, or take them from the cache.

    Raises:
        FrameworkError: names the rows that cannot be used.
    """
    from framework.data import stage  # noqa: PLC0415 - numpy and Arrow, which launch=single of a plan does without

    return stage.load_data(plan, model)
