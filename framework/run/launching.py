"""Has the launcher of a plan run it, whoever wrote the launcher."""

from __future__ import annotations

from contextlib import nullcontext

from framework.api.plan import Plan
from framework.api.protocols import Launcher
from framework.api.records import Report
from framework.rundir.folder import locked
from framework.util.errors import FrameworkError, describe_error
from framework.util.guard import Caught, short_repr


def launched(plan: Plan, *, is_locked: bool = False) -> Report | None:
    """Have a plan run, and return its report if this process makes one.

    Args:
        plan: the run.
        is_locked: whether this process has locked the folder of the run, as that of a trial, already.

    Raises:
        FrameworkError: a user's mistake, a part of the run that ends Python, or a launcher that returns something else.
    """
    launcher: Launcher = plan.launch.create()
    failed = Caught(Exception, passes=_is_told)
    with nullcontext() if is_locked or not plan.launch.config.writes() else locked(plan.run_dir), failed:
        report = launcher.launch(plan)
    if failed.error:
        raise FrameworkError(f"a part of the run ends Python: {describe_error(failed.error)}") from failed.error
    if report is not None and not isinstance(report, Report):
        raise FrameworkError(
            f"launch={plan.launch.component.name} returned {short_repr(report)}: return a Report or None"
        )
    return report


def _is_told(error: BaseException) -> bool:
    """Whether a launcher ends this process with the exit code of those that it started, which have said why."""
    return isinstance(error, SystemExit) and isinstance(error.code, int) and error.code != 0
