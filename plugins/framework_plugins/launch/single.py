"""`launch=single`: the run happens in the process that was started.

If that process has imported a conflicting library, the run continues as with `launch=subprocess`, and reports it.
"""

from __future__ import annotations

import logging

from framework import Plan
from framework.api import Report
from framework.api.program import run_plan
from framework_plugins.launch.child_process import ChildProcess
from framework_plugins.launch.config import PlacedConfig, SubprocessConfig
from framework_plugins.launch.pickled_plan import stale

log = logging.getLogger(__name__)


class Single:
    """Runs here."""

    def __init__(self, config: PlacedConfig) -> None:
        self.config = config

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan, in a process of its own if this one will not do."""
        if reason := stale(plan.selections):
            log.warning("%s: the run continues in a new process", reason)
            return ChildProcess(SubprocessConfig()).launch(plan)
        return run_plan(plan)
