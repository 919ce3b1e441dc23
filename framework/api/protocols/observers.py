"""What follows a run: loggers show or keep its events, and monitors report what goes wrong in a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.events import Event
    from framework.api.records import Step, TrainingIssue

__all__ = ["Logger", "TrainingMonitor"]


class Logger(ABC):
    """An option of `logger=`. Subclass it: `log` matches the events of `framework.api` that are of interest.

    A logger that raises is switched off with a warning; it never ends a run.
    """

    @abstractmethod
    def log(self, event: Event) -> None:
        """Handle an event. Ignore unknown events: later versions may send more."""

    def close(self) -> None:  # noqa: B027 - most loggers hold nothing open
        """Close what is open: the run is over, with a report, with an error, or after a part of its stages."""


@runtime_checkable
class TrainingMonitor(Protocol):
    """Follows one training. `framework_training_monitors` gives one for each run."""

    def check(self, step: Step) -> Iterable[TrainingIssue]:
        """Return what is wrong after this log entry; the action of each issue says what is done about it.

        If the training ends between two validations, the last entry comes again, with the last validation.
        """
