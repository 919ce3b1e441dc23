"""What the data room checks of a plan, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable

from framework.api.plan import Plan
from framework.hookspecs import hookimpl


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[str]:
    """Check `data.mix`."""
    if plan.data.config.mix:
        from framework.data.mix import problems  # noqa: PLC0415 - a run without a mix need not import it

        yield from problems(plan.data.config.mix, plan.format)
