"""What is checked of the settings of the data, before a row is read."""

from __future__ import annotations

from collections.abc import Iterable

from framework.api.component import hookimpl
from framework.api.plan import Plan
from framework.api.problem import Problem


@hookimpl
def framework_check_plan(plan: Plan) -> Iterable[Problem]:
    """Check `data.mix`, `data.cut` and `format.columns`."""
    limit, longest = plan.data.config.cut, plan.training.max_seq_length
    if limit is not None and limit > longest:
        yield Problem(
            f"data.cut={limit} is more than trainer.max_seq_length={longest}: set data.cut={longest} or less",
            ("data.cut", "trainer.max_seq_length"),
        )
    if plan.format.config.columns:
        from framework.data import columns  # noqa: PLC0415 - a run that renames nothing need not import it

        yield from columns.problems(plan.format.config.columns)
    if plan.data.config.mix:
        from framework.data.mixture import problems  # noqa: PLC0415 - a run without a mix need not import it

        yield from problems(plan.data.config.mix, plan.format)
