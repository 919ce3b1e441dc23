"""What trains, answers and measures, and what opens it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from framework.api.schema import UNPLANNED_ANSWERS
from framework.util.hashing import key_of

if TYPE_CHECKING:
    from framework.api.data import Data
    from framework.api.plan import Plan
    from framework.api.protocols.rewards import Rewarder
    from framework.api.records import (
        Answer,
        Example,
        ExpertUse,
        Measure,
        Prompt,
        Scored,
        Step,
        StepControl,
        TextForm,
        TokenGroup,
        TokenRow,
        TrainResult,
    )
    from framework.api.schema import SamplingParams

__all__ = ["AnswerTask", "Backend", "Feature", "Model", "RemoteTrainer", "TrainRun"]


class Feature(Enum):
    """What a model may be able to do besides."""

    objectives = "learns by any objective, not only by the mean loss of the learned tokens"
    groups = "is trained by a group of processes, and frees the memory of its weights with `unload`"
    answers = "lets other processes answer a part of many prompts, with the same answers: `helpers` and `answer`"
    second_training = "can be trained again from where the first training started: `start_over`"


class Model(ABC):
    """A model that a backend opened. Subclass it. Its weights are loaded when first needed.

    Attributes:
        facts: what was chosen for this hardware, with the reason: device, dtype, attention…
        stop_ids: the token ids that end an answer.
        features: what it can do besides.
        base_key: a hash over all that its answers as the base depend on apart from the data. Trials of a sweep with the
            same hash share what was measured of the base, and train once if their trainings are the same. If it is
            empty, each trial measures its own base.
        positions: the most tokens of a row; None if that is not known.
        helpers: who answers besides; a model with `Feature.answers` calls them while it answers itself.
        expert_use: how often each expert was chosen in the rows that `score` read last; None without experts.
        answers_at_once: how many answers it makes at a time, by the plan.
    """

    facts: Mapping[str, str]
    stop_ids: frozenset[int]
    features: ClassVar[frozenset[Feature]] = frozenset()
    helpers: Sequence[AnswerHelper] = ()
    expert_use: ExpertUse | None = None
    answers_at_once: int = UNPLANNED_ANSWERS

    @property
    def base_key(self) -> str:
        """See the attributes."""
        return ""

    @property
    def positions(self) -> int | None:
        """See the attributes."""
        return None

    @property
    @abstractmethod
    def encoding(self) -> str:
        """A hash over all that `encode` depends on apart from the examples; empty if rows must not be cached.

        Tokenizer, chat template and its switches, stop tokens, and which turns are learned.
        """

    @abstractmethod
    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Render with the chat template, tokenize, and label the assistant's turns, including their stop tokens.

        A row that cannot be proven to teach what inference will do has a `problem`; its labels are the best available,
        or all -100 if there are none.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Answer each prompt greedily; answers come in the order of the prompts."""

    @abstractmethod
    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer one prompt and yield the text as it is generated; greedily, the same text as `generate`.

        A piece never ends within a character and contains no stop token. An empty piece says that the answer continues:
        while the model thinks, which yields no text, and while a character is incomplete. Other answers may be
        generated between two pieces, and `as_base` may change; the caller restores it before it asks for the next
        piece.

        Args:
            prompt: the conversation so far.
            max_new_tokens: most tokens of the answer, including thoughts.
            temperature: 0 takes the likeliest token each time; 1 samples from the model's distribution.
            top_p: sample from the likeliest tokens with this total probability.
            seed: of the samples: the same seed gives the same answer. None: a different one each time.
        """

    @abstractmethod
    def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Continue rows of token ids greedily, as `generate` continues a prompt."""

    @abstractmethod
    def render(self, prompt: Prompt) -> str:
        """Return a prompt as the chat template writes it, up to the beginning of the answer.

        Raises:
            FrameworkError: the template refuses the turns.
        """

    @abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens written in it are one token each, and none are added."""

    @property
    @abstractmethod
    def text_form(self) -> TextForm:
        """How the model reads plain text."""

    @abstractmethod
    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over all supervised tokens of `rows`, in nats."""

    @abstractmethod
    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Return for each row the log-probabilities of its learned tokens, and the likeliest token at each."""

    def measures(self, groups: Sequence[TokenGroup]) -> Mapping[str, Measure] | None:
        """Return measures of held-out groups; None: of the probabilities of tokens."""
        del groups
        return None

    @abstractmethod
    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return for each row KL(base || model), the mean over its learned tokens in nats.

        Raises:
            FrameworkError: the base is gone: without an adapter, call this with the same rows before `train` as well.
        """

    @abstractmethod
    def as_base(self) -> AbstractContextManager[None]:
        """Let the model answer as the base within a context. Without an adapter, this works only before `train`."""

    @abstractmethod
    def train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        """Train on `rows` and save the weights into `run.checkpoint`: those that were set aside, if any.

        For supervised training a group is a row.

        After each log entry, `run.on_step` is called, and what it returns is done before the next step. A validation,
        which is the loss of `validation` and the values of `run.measure`, comes after each step for which
        `schedule.is_due` is true, and is reported with the entry of its step. If there was a validation before, the
        training also ends with one; a training that is stopped between two validations sends its last entry again with
        that one.
        """

    @abstractmethod
    def restore(self, checkpoint: Path) -> None:
        """Load the trained weights of an earlier run."""

    @abstractmethod
    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer and the chat template."""

    def sample(self, prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Any]]:
        """Draw answers to each prompt with the weights that the model has now, adapter included.

        A model gives `Sampled` answers. These are drawn one by one and have no rows: a choice among them needs none.
        """
        from framework.api.records import Answer  # noqa: PLC0415 - records are saved with their options, which need this

        def draw(prompt: Prompt, seed: int) -> Answer:
            limit = params.max_new_tokens
            pieces = self.stream(
                prompt, max_new_tokens=limit, temperature=params.temperature, top_p=params.top_p, seed=seed
            )
            ids = tuple(self.tokenize(text := "".join(pieces)))
            return Answer(text, len(ids), stopped=len(ids) < limit, ids=ids)

        return [
            [draw(prompt, int(key_of([params.seed, index, k])[:8], 16)) for k in range(params.n)]
            for index, prompt in enumerate(prompts, params.first)
        ]

    def published(self, checkpoint: Path) -> Path:
        """Return the folder of trained weights as exporters take it.

        That is `checkpoint`, or a copy with the names that other programs expect.
        """
        return checkpoint

    def forget_checkpoints(self) -> None:  # noqa: B027 - most trainings do not resume
        """Remove the checkpoints of this run: its training is complete, or it took the weights of another trial."""

    def start_over(self) -> None:
        """Give up the trained weights for those that a training starts from; see `Feature.second_training`."""
        raise NotImplementedError

    def unload(self) -> None:
        """Free the memory of the weights; they are loaded again when they are next needed. See `Feature.groups`.

        In a process of a group, which has `FRAMEWORK_WORKER` and the variables of torchrun (`RANK`, `WORLD_SIZE`,
        `LOCAL_RANK`), `train` works with the other processes; only the first calls `run.on_step` and writes files.
        """
        raise NotImplementedError

    def answer(self, task: AnswerTask) -> list[Answer]:
        """Continue the rows of another process; see `Feature.answers`."""
        raise NotImplementedError


@dataclass(frozen=True)
class TrainRun:
    """Where a training writes, who receives each step, and what is measured at a validation besides the loss.

    The training follows what `on_step` returns; None means continue. An exception from it ends the training, and
    nothing is saved. `interruption` is for models with checkpoints: such a training calls it after each optimizer step
    but the last, and if it returns an exception, saves a checkpoint and raises that. A training that never calls it is
    stopped wherever it is. What `state` returns, plain values, is saved with each checkpoint; a training that resumes
    from one gives it to `restore` before it calls `on_step`.

    For a method that samples answers while it trains, `prompts` has what each group of the training asks, and `reward`
    scores answers. A trainer that tokenizes conversations itself has them in `prompts` too.
    """

    checkpoint: Path
    scratch: Path
    on_step: Callable[[Step], StepControl | None]
    measure: Callable[[], Mapping[str, float]] = dict
    interruption: Callable[[], BaseException | None] = lambda: None
    state: Callable[[], Mapping[str, Any]] = dict
    restore: Callable[[Mapping[str, Any]], None] = lambda _: None
    prompts: Sequence[Prompt] = ()
    reward: Rewarder | None = None


@dataclass(frozen=True)
class AnswerTask:
    """Rows of token ids that a process continues, as `Model.complete` does.

    Attributes:
        starts: the rows.
        shared: what they begin with, and those of other processes too.
        max_new_tokens: most tokens of an answer.
        batch_size: how many rows it continues at a time.
        base: whether the base answers.
        checkpoint: the trained weights; None before the training.
    """

    starts: Sequence[Sequence[int]]
    shared: Sequence[int]
    max_new_tokens: int
    batch_size: int
    base: bool
    checkpoint: Path | None


AnswerHelper = Callable[[AnswerTask], "Callable[[], list[Answer]]"]
"""Begins a task in another process, and returns what waits for its answers."""


RemoteTrainer = Callable[["Plan", "Model", "Data", TrainRun], "TrainResult"]
"""Trains instead of `Model.train`, and leaves the trained weights in the model."""


@runtime_checkable
class Backend(Protocol):
    """An option of `trainer=`.

    It loads the model, since it may have to be imported before transformers, knows dtype, device and attention, and can
    free what it allocates. The core never sees a torch object.
    """

    @abstractmethod
    def open(self, plan: Plan) -> AbstractContextManager[Model]:
        """Import the libraries, choose device, dtype and the rest, and free all memory at the end.

        Raises:
            FrameworkError: this plan cannot run here; the message says what is missing and what to do.
        """
