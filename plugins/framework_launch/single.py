"""`launch=single`: the run happens in the process that was started."""

from __future__ import annotations

from framework import pipeline
from framework.plan import Plan
from framework.records import Report
from framework_launch.config import SingleConfig


class Single:
    """Runs here."""

    def __init__(self, config: SingleConfig) -> None:
        self.config = config

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan."""
        return pipeline.run(plan)
