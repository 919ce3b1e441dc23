"""What scores answers for a training, what gives answers, and a method that makes its rows of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from framework.api.records import Answer, Prompt, Rewards, Sampled
    from framework.api.schema import SamplingParams

__all__ = ["Generator", "Reward", "RewardContext", "Rewarder", "Rollout", "SamplingModel"]


@dataclass
class RewardContext:
    """What a reward may know besides the answers, and what it may say besides its numbers.

    Attributes:
        step: optimizer steps that are done; 0 in an audit.
        total_steps: optimizer steps of the training; 0 if that is not known.
        metrics: numbers to log, by name; several of one name are averaged.
        columns: something to show beside each answer, by name.
    """

    step: int = 0
    total_steps: int = 0
    metrics: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)


@runtime_checkable
class Reward(Protocol):
    """An option of `reward=`. A metric is one too: its score, with the other sign if lower is better."""

    @abstractmethod
    def rewards(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], context: RewardContext
    ) -> Sequence[float | None]:
        """Score answers, each to the prompt in the same place, and give None for one that it has no opinion on.

        The answers to one prompt follow each other. An exception ends the run: it is never a score of 0.
        """


class Rewarder(Protocol):
    """The rewards of a run with their weights."""

    def __call__(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], *, step: int = 0, total_steps: int = 0
    ) -> Rewards:
        """Score answers, each to the prompt in the same place.

        Raises:
            FrameworkError: a reward fails, or gives something else than a number or None for each answer; names the
                reward and the prompt.
        """


@runtime_checkable
class Generator(Protocol):
    """Answers prompts with the weights that the model has now."""

    def __call__(self, prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Sampled]]:
        """Draw answers to each prompt; the same weights and seed give the same answers, in any batches."""


class SamplingModel(Protocol):
    """The model of a run, as an option of `rollout=` sees it."""

    stop_ids: frozenset[int]
    """The tokens that end an answer."""

    @property
    def answers_at_once(self) -> int:
        """How many answers are drawn at the same time, see `trainer.answers_at_once`."""

    @property
    def model(self) -> Any:
        """The model of transformers with what is trained of it, in evaluation mode while answers are drawn."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""

    @property
    def draw(self) -> Generator:
        """Draws with the model itself, in batches."""

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, to which an answer is drawn."""

    def sampled(self, prompt: Prompt, ids: Sequence[int], log_probs: Sequence[float]) -> Sampled:
        """Return an answer of which the tokens are known, the stop token included, and their log-probabilities."""

    def save_adapter(self, folder: Path) -> None:
        """Write the weights that are trained, as they are now, in the form of peft."""


@runtime_checkable
class Rollout(Protocol):
    """An option of `rollout=`."""

    @abstractmethod
    def generator(self, model: SamplingModel) -> Generator:
        """Return what draws answers with the weights that the model has at each call.

        Its log-probabilities are those of the whole distribution at the temperature, before `top_p` cuts it. The
        training compares them with its own.
        """
