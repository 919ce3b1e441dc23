"""Options of `data=` and `evaluator=`, and the command, that are called after logs of an API."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Len
from omegaconf import MISSING

from framework.api import Affects, DataConfig, EvaluatorConfig
from framework.api.program import CommandConfig

PROBABILITY = "answer_probability"
"""The measure of how probable the model's own answers are."""
SECONDS, ALONE = "request_seconds", "request_seconds_alone"
"""Seconds of a request, many at a time and one at a time."""
MODEL_INPUT, MODEL_OUTPUT = "request_tokens", "answer_tokens"
"""Tokens of the model, by its own tokenizer."""
VERSUS = "_vs_logged"
"""The suffix of a metric that compares two answers: 1 if the model's is better, 0 if the logged one is."""


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


@dataclass
class ReplaceApiConfig(EvaluatorConfig):
    """Held-out requests answered and compared with the logged answers: a verdict, a router and the bill.

    `verdict.margin` says how many points worse is not worse, `plan.price_per_hour` what this machine costs.
    """

    count: Annotated[int, Gt(0)] = 1000
    """Most held-out requests that are answered."""
    max_new_tokens: Annotated[int, Gt(0)] = 256
    """Longest answer in tokens."""
    max_error: Annotated[float, Interval(gt=0, lt=1)] = 0.05
    """The promise of the router: of the requests that it leaves to the model, at most this share has a worse answer."""
    input_price: Annotated[float | None, Ge(0)] = None
    """What the API takes for a million tokens of requests, in the currency of `plan.price_per_hour`."""
    cached_price: Annotated[float | None, Ge(0)] = None
    """The same for tokens that the API had in its cache; null: the same price."""
    output_price: Annotated[float | None, Ge(0)] = None
    """The same for tokens of answers."""

    def measures(self) -> tuple[str, ...]:
        """Return the names of what it measures beside the metrics."""
        return PROBABILITY, SECONDS, ALONE, MODEL_INPUT, MODEL_OUTPUT

    def asks(self, prompts: int) -> int:
        """Return how many requests it asks."""
        return min(self.count, prompts)

    def answer_tokens(self) -> int | None:
        """Return the most tokens of an answer."""
        return self.max_new_tokens


@dataclass
class ReplaceApiCommandConfig(CommandConfig):
    """Say again whether a run's model replaces the API: with other prices, a margin, or beside an earlier run."""

    usage = "RUN_DIR"
