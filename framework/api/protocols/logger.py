"""What shows or keeps the events of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framework.api.events import Event


class Logger(ABC):
    """An option of `logger=`. Subclass it: `log` matches the events of `framework.api` that are of interest.

    A logger that raises is switched off with a warning; it never ends a run.
    """

    @abstractmethod
    def log(self, event: Event) -> None:
        """Handle an event. Ignore unknown events: later versions may send more."""

    def close(self) -> None:  # noqa: B027 - most loggers hold nothing open
        """Close what is open: the run is over, with a report, with an error, or after a part of its stages."""
