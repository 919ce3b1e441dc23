"""For authors of launchers: to run a plan here, to hand it to other processes, to hear from them. Provisional.

This module looks up: it hands on what stands in rooms above `api`. Nothing in the core imports it.
"""

from framework.data.stage import load_data
from framework.data.store import Rows
from framework.plan.fit import check_fits
from framework.run.import_order import stale
from framework.run.pipeline import SCRATCH, planned, run
from framework.run.plan_transfer import Packed, check_divisible, end_with, pack
from framework.run.worker import ENDED, GROUP, JOB, Ended, Job
from framework.rundir.status import note_failure

__all__ = [
    "ENDED",
    "GROUP",
    "JOB",
    "SCRATCH",
    "Ended",
    "Job",
    "Packed",
    "Rows",
    "check_divisible",
    "check_fits",
    "end_with",
    "load_data",
    "note_failure",
    "pack",
    "planned",
    "run",
    "stale",
]
