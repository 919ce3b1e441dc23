"""What follows a training and reports what goes wrong in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.records import Step, TrainingIssue


@runtime_checkable
class TrainingMonitor(Protocol):
    """Follows one training. `framework_training_monitors` gives one for each run."""

    def check(self, step: Step) -> Iterable[TrainingIssue]:
        """Return what is wrong after this log entry; the action of each issue says what is done about it.

        If the training ends between two validations, the last entry comes again, with the last validation.
        """
