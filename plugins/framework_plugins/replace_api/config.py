"""Options of `data=` and `evaluator=`, and the command, that are called after logs of an API."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Interval, Len
from omegaconf import MISSING

from framework.api import Affects, DataConfig


class Private(Enum):
    """What a call may hold that no model should learn."""

    secrets = "secrets"
    emails = "emails"


class Together(Enum):
    """Which calls are on one side of the split: those of a conversation, or all of a user too."""

    conversation = "conversation"
    user = "user"


@dataclass
class ApiLogsConfig(DataConfig):
    """Logged calls of an API, the newest held out: OpenAI, Anthropic, Langfuse, LangSmith, OTel, LiteLLM, Helicone."""

    path: Annotated[str, Len(1), ~Affects.rows] = MISSING
    """A file, a folder or a glob with a logged call in each line; a batch needs its file of requests too."""
    models: list[str] = field(default_factory=list)
    """The models to learn from, if several answered: `[gpt-4o-2024-08-06]`."""
    remove: list[Private] = field(default_factory=list)
    """Leave out calls in which the audit finds these: `[secrets, emails]`."""
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    """Share of the requests that are held out, the newest ones, with all others of their conversations."""
    together: Together = Together.conversation
    """What stays on one side of the split: a conversation, or all calls of a user."""

    def source(self) -> str:
        return self.path
