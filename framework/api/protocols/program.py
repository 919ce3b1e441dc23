"""What runs a plan, a command or a chat."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.plan import Plan
    from framework.api.records import Prompt, Report
    from framework.api.run_folder import SavedRun

__all__ = ["Command", "Launcher", "Speaker", "SpeakerSource"]


@runtime_checkable
class Launcher(Protocol):
    """An option of `launch=`: in which process, or on which machine, the run happens."""

    @abstractmethod
    def launch(self, plan: Plan) -> Report | None:
        """Run the plan to its end and return its report; None if the report stage is not one of its stages.

        Raises:
            FrameworkError: it cannot be started there, or the run ended with a mistake of the user.
        """


@runtime_checkable
class Command(Protocol):
    """A command, `python -m framework NAME …`."""

    @abstractmethod
    def main(self, arguments: Sequence[str]) -> int:
        """Run with the arguments after the name and return the exit code.

        `framework.api.program.CommandParser` reads them, `--help` among them.
        """


@runtime_checkable
class Speaker(Protocol):
    """Answers in a chat: a model, or a custom chat backend."""

    name: str
    context: int | None
    """Most tokens of a conversation and its answer together; None if no limit is known."""

    def count(self, prompt: Prompt) -> int:
        """Return how many tokens a conversation has for this speaker."""

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer, as `Model.stream` does."""


@runtime_checkable
class SpeakerSource(Protocol):
    """Opens who answers in `python -m framework chat RUN_DIR --NAME [WORD]` instead of the model itself."""

    @abstractmethod
    def open(self, run: SavedRun, word: str) -> AbstractContextManager[Speaker]:
        """Open the speaker, and free it at the end. `word` is the argument after the name; it may be empty.

        Raises:
            FrameworkError: something that it needs from the run, or from this machine, is missing.
        """
