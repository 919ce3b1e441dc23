"""What trains, answers and measures, and what opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.api.data import Data
    from framework.api.plan import Plan
    from framework.api.records import (
        Answer,
        Example,
        Prompt,
        Scored,
        Step,
        StepControl,
        TextForm,
        TokenRow,
        TrainResult,
    )


@runtime_checkable
class Model(Protocol):
    """A model that a backend opened. Its weights are loaded when first needed.

    It may be a `SharesBase`, a `KeepsCheckpoints` or a `SupportsDistributed` too.
    """

    facts: Mapping[str, str]
    """What was picked for this hardware, with the reason: device, dtype, attention…"""

    @property
    def encoding(self) -> str:
        """A hash over all that `encode` depends on besides the examples; empty where rows are not to be cached.

        Tokenizer, chat template and its switches, stop tokens, and which turns are learned.
        """

    @property
    def stop_ids(self) -> frozenset[int]:
        """The token ids that end an answer."""

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Render by the chat template, tokenize, and label the assistants' turns with their stop tokens.

        A row for which it cannot be proven that it teaches what inference will do has a `problem`; its labels are
        the best that can be done, all -100 where that is nothing.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Answer each prompt greedily; answers come in the order of the prompts."""

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer one prompt and give the text as it comes; greedily, the same text as `generate`.

        A piece never ends within a letter and holds no stop token. An empty one says that the answer continues: while
        the model thinks, nothing of which is given, and while a letter is not whole. Other answers may be made between
        two pieces, and `as_base` may change; the caller puts that back before it asks for the next piece.

        Args:
            prompt: the conversation so far.
            max_new_tokens: tokens of the answer, thoughts among them, at most.
            temperature: 0 takes the likeliest token each time; 1 draws as the model has it.
            top_p: draw among the likeliest tokens that have this much of the probability together.
            seed: of the draws: the same one draws the same answer. None: another one each time.
        """

    def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        """Continue rows of token ids greedily, as `generate` continues a prompt."""

    def render(self, prompt: Prompt) -> str:
        """Return a prompt as the chat template writes it, up to where the answer begins.

        Raises:
            FrameworkError: the template refuses the turns.
        """

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens written in it are one token each, none is added."""

    @property
    def text_form(self) -> TextForm:
        """How it reads plain text."""

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Mean loss over all supervised tokens of `rows`, in nats."""

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        """Return for each row the log-probabilities of its learned tokens, and what was likeliest in their place."""

    def divergence(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return for each row KL(base || model), the mean over its learned tokens in nats.

        Raises:
            FrameworkError: the base is gone: without an adapter, rows have to be asked about before `train` as well.
        """

    def as_base(self) -> AbstractContextManager[None]:
        """Inside, the model answers as the base does. Without an adapter that is possible only before `train`."""

    def train(self, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun) -> TrainResult:
        """Train on `rows` and save the weights into `run.checkpoint`, those that were set aside where some were.

        After each log entry `run.on_step` is called, and obeyed before the next step is made. A validation, the loss of
        `validation` and what `run.measure` gives, comes after the steps of which `schedule.is_due` says so, and is
        reported with the entry of its step. Where there was one before, the end of the training is one too; a training
        that is stopped between two sends its last entry again with it.
        """

    def restore(self, checkpoint: Path) -> None:
        """Put the trained weights of an earlier run into place."""

    def save_tokenizer(self, folder: Path) -> None:
        """Write tokenizer and chat template."""


@runtime_checkable
class SharesBase(Protocol):
    """A model that says when its base is the same as that of another trial of a sweep."""

    base_key: str
    """A hash over all that its answers as the base depend on besides the data.

    Trials with the same one share what was measured of the base, and train once where they would train alike. Where it
    is empty, each measures its own.
    """


@runtime_checkable
class KeepsCheckpoints(Protocol):
    """A model whose trainings resume from checkpoints after an interruption."""

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of this run: its training is complete, or it took the weights of another trial."""


@dataclass(frozen=True)
class TrainRun:
    """Where a training writes, who receives each step, and what is measured at a validation besides the loss.

    The training follows what `on_step` returns; None means continue. What it raises ends the training, and nothing is
    saved. `interruption` is for models with checkpoints: a training that asks it after each optimizer step, before the
    last one, saves a checkpoint and raises what it returns, if it returns something. A training that never asks is
    stopped wherever it is.
    """

    checkpoint: Path
    scratch: Path
    on_step: Callable[[Step], StepControl | None]
    measure: Callable[[], Mapping[str, float]] = dict
    interruption: Callable[[], BaseException | None] = lambda: None


@runtime_checkable
class SupportsDistributed(Protocol):
    """A model that a group of processes can train. `process_group.member()` says which of them a process is.

    There `train` works with the other processes; `run.on_step` is called in the first alone, which alone writes.
    """

    def unload(self) -> None:
        """Give back the memory of the weights; they are loaded again when they are next needed."""


RemoteTrainer = Callable[["Plan", "Model", "Data", TrainRun], "TrainResult"]
"""Trains instead of `Model.train`, and leaves the trained weights in the model."""


@runtime_checkable
class Backend(Protocol):
    """An option of `trainer=`."""

    def open(self, plan: Plan) -> AbstractContextManager[Model]:
        """Import the libraries, pick device, dtype and the rest, and free all memory at the end.

        Raises:
            FrameworkError: this plan cannot run here; the message says what is missing and what to do.
        """
