"""What trains, answers and measures, and what opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.data import Data
    from framework.api.plan import Plan
    from framework.api.protocols.rewards import Rewarder
    from framework.api.records import (
        Answer,
        Example,
        Prompt,
        Scored,
        Step,
        StepControl,
        TextForm,
        TokenGroup,
        TokenRow,
        TrainResult,
    )


@runtime_checkable
class Model(Protocol):
    """A model that a backend opened. Its weights are loaded when first needed.

    It may be a `SharesBase`, a `KeepsCheckpoints`, a `LimitsLength`, a `SupportsDistributed`, a `SupportsObjectives`, a
    `StartsOver` or a `PublishesWeights` too.
    """

    facts: Mapping[str, str]
    """What was chosen for this hardware, with the reason: device, dtype, attention…"""

    @property
    def encoding(self) -> str:
        """A hash over all that `encode` depends on apart from the examples; empty if rows must not be cached.

        Tokenizer, chat template and its switches, stop tokens, and which turns are learned.
        """

    @property
    def stop_ids(self) -> frozenset[int]:
        """The token ids that end an answer."""

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Render with the chat template, tokenize, and label the assistant's turns, including their stop tokens.

        A row that cannot be proven to teach what inference will do has a `problem`; its labels are the best available,
        or all -100 if there are none.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Answer each prompt greedily; answers come in the order of the prompts."""

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

    def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Continue rows of token ids greedily, as `generate` continues a prompt."""

    def render(self, prompt: Prompt) -> str:
        """Return a prompt as the chat template writes it, up to the beginning of the answer.

        Raises:
            FrameworkError: the template refuses the turns.
        """

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens written in it are one token each, and none are added."""

    @property
    def text_form(self) -> TextForm:
        """How the model reads plain text."""

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over all supervised tokens of `rows`, in nats."""

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Return for each row the log-probabilities of its learned tokens, and the likeliest token at each."""

    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return for each row KL(base || model), the mean over its learned tokens in nats.

        Raises:
            FrameworkError: the base is gone: without an adapter, call this with the same rows before `train` as well.
        """

    def as_base(self) -> AbstractContextManager[None]:
        """Let the model answer as the base within a context. Without an adapter, this works only before `train`."""

    def train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        """Train on `rows` and save the weights into `run.checkpoint`: those that were set aside, if any.

        For supervised training a group is a row.

        After each log entry, `run.on_step` is called, and what it returns is done before the next step. A validation,
        which is the loss of `validation` and the values of `run.measure`, comes after each step for which
        `schedule.is_due` is true, and is reported with the entry of its step. If there was a validation before, the
        training also ends with one; a training that is stopped between two validations sends its last entry again with
        that one.
        """

    def restore(self, checkpoint: Path) -> None:
        """Load the trained weights of an earlier run."""

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer and the chat template."""


@runtime_checkable
class SharesBase(Protocol):
    """A model that says when its base is the same as that of another trial of a sweep."""

    base_key: str
    """A hash over all that its answers as the base depend on apart from the data.

    Trials with the same hash share what was measured of the base, and train once if their trainings are the same. If it
    is empty, each trial measures its own base.
    """


@runtime_checkable
class StartsOver(Protocol):
    """A model that can be trained a second time, from where the first training started."""

    def start_over(self) -> None:
        """Give up the trained weights for those that a training starts from."""


@runtime_checkable
class PublishesWeights(Protocol):
    """A model whose trained weights may have other names than those that other programs expect."""

    def published(self, checkpoint: Path) -> Path:
        """Return the folder of trained weights as exporters take it: `checkpoint`, or a copy with other names."""


@runtime_checkable
class LimitsLength(Protocol):
    """A model that cannot read rows of any length."""

    @property
    def positions(self) -> int | None:
        """The most tokens of a row; None if that is not known."""


@runtime_checkable
class KeepsCheckpoints(Protocol):
    """A model whose trainings resume from checkpoints after an interruption."""

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of this run: its training is complete, or it took the weights of another trial."""


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


@runtime_checkable
class SupportsDistributed(Protocol):
    """A model that a group of processes can train. `process_group.member()` says which of them a process is.

    In a group, `train` works with the other processes; only the first process calls `run.on_step` and writes files.
    """

    def unload(self) -> None:
        """Free the memory of the weights; they are loaded again when they are next needed."""


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


@runtime_checkable
class SharesAnswers(Protocol):
    """A model that lets other processes answer a part of many prompts, with the same answers."""

    helpers: Sequence[AnswerHelper]
    """Who answers besides; the model calls them while it answers itself."""

    def answer(self, task: AnswerTask) -> list[Answer]:
        """Continue the rows of another process."""


RemoteTrainer = Callable[["Plan", "Model", "Data", TrainRun], "TrainResult"]
"""Trains instead of `Model.train`, and leaves the trained weights in the model."""


@runtime_checkable
class Backend(Protocol):
    """An option of `trainer=`.

    It loads the model, since it may have to be imported before transformers, knows dtype, device and attention, and can
    free what it allocates. The core never sees a torch object.
    """

    def open(self, plan: Plan) -> AbstractContextManager[Model]:
        """Import the libraries, choose device, dtype and the rest, and free all memory at the end.

        Raises:
            FrameworkError: this plan cannot run here; the message says what is missing and what to do.
        """
