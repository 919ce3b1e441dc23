"""Problems of a training while it runs, and the instructions to its backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from framework.api.schema import Action

__all__ = ["StepControl", "TrainingIssue"]


@dataclass(frozen=True)
class TrainingIssue:
    """A problem of a training.

    Attributes:
        kind: what it is, the name of its setting below `health`.
        step: the optimizer step at which it was seen.
        text: what was seen, with the numbers, in one sentence.
        recommendation: what to change.
        action: what the run does about it.
    """

    kind: str
    step: int
    text: str
    recommendation: str
    action: Action

    NAN: ClassVar[str] = "nan"
    """The kind of issue that leaves the weights worthless."""

    @property
    def line(self) -> str:
        """All of it in one line: `step 12, spike: the loss jumped to 6.3 from about 0.4. Look at the rows …`."""
        return f"step {self.step}, {self.kind}: {self.text}. {self.recommendation}"


@dataclass(frozen=True)
class StepControl:
    """What a backend has to do between one step and the next.

    Attributes:
        rate: the factor on all remaining learning rates.
        keep: set the current weights aside, instead of those that were set aside before. The weights that were set
            aside last are the trained weights when the training ends.
        stop: why the training ends here; empty if it continues.
    """

    rate: float = 1.0
    keep: bool = False
    stop: str = ""
