"""What the code behind each option must offer. A factory named by a `Component` is called with the option's config.

The protocols say what is called, in which order, and what it may raise. `FrameworkError` is for what a user can mend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from framework.data import Data
    from framework.data.audit import AuditData
    from framework.plan import Plan
    from framework.records import (
        Answer,
        Answered,
        Artifact,
        DataResult,
        EvalResult,
        Example,
        Finding,
        Forecast,
        Order,
        Prompt,
        RawData,
        Report,
        Sample,
        Scored,
        Scores,
        Step,
        TextForm,
        TokenRow,
        TrainResult,
        Trouble,
    )
    from framework.saved import SavedRun


@dataclass(frozen=True)
class ModelPlace:
    """Where a base model lies: a local `folder`, and the `name` by which others load it, a Hub id or a folder."""

    folder: Path
    name: str
    revision: str = ""


@runtime_checkable
class ModelSource(Protocol):
    """An option of `model=`."""

    def check(self) -> str:
        """Say what the model is, in one line, without loading or downloading its weights and without torch.

        Raises:
            FrameworkError: it cannot be had.
        """

    def config_json(self) -> Mapping[str, Any]:
        """Return what its config.json says, without its weights and without torch; empty where it has none.

        Raises:
            FrameworkError: it cannot be had.
        """

    def fetch(self, *, weights: bool) -> ModelPlace:
        """Bring the model to this machine, once; without `weights` config and tokenizer are enough."""


@runtime_checkable
class Quantization(Protocol):
    """An option of `quantization=`."""

    def config(self, compute_dtype: Any) -> Any:
        """Return a `transformers` quantization config for a `torch.dtype` to compute in, or None."""


@runtime_checkable
class Adapter(Protocol):
    """An option of `adapter=`."""

    def config(self) -> Any:
        """Return a `peft.PeftConfig`, or None to train all weights."""


@runtime_checkable
class Source(Protocol):
    """An option of `data=`."""

    def load(self) -> RawData:
        """Find the rows. They are read when they are iterated over, which happens more than once.

        A row that cannot be read is given as a `Row` with a `problem`, so that all of them are told together, or
        skipped with `data.on_bad_row=skip`.

        Raises:
            FrameworkError: a file is missing or is of an unknown kind; also while iterating, where reading cannot go
                on. The message names the file, and the line where there is one.
        """


@runtime_checkable
class Formatter(Protocol):
    """An option of `format=`. Both methods are pure functions of a row.

    `format.columns` and `format.system_prompt` are applied by the core, before and after `example`.
    """

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the row looks like this format; `format=auto` asks every formatter."""

    def example(self, fields: Mapping[str, Any]) -> Example:
        """Turn a row into a conversation; `Example.format` names the format that was found.

        Raises:
            FrameworkError: a field is missing or of the wrong type; the caller adds where the row stands.
        """


@runtime_checkable
class Model(Protocol):
    """A model that a backend opened. Its weights are loaded when first needed.

    It may have `base_key`, a hash over all that its answers as the base depend on besides the data: points of a sweep
    with the same one share what was measured of the base. Where it is empty, or there is none, each measures it. What
    such a model remembers of the base besides is its `base_memory`, which another one is given along with that.
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

        A piece never ends within a letter and holds no stop token. One that is empty says that it goes on: while the
        model thinks, nothing of which is given, and while a letter is not whole. Other answers may be made between two
        pieces, and `as_base` may change; the caller puts that back before it asks for the next piece.

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

    def as_null(self, seed: int) -> AbstractContextManager[None]:
        """Inside, the model has a random adapter of the same shape and size as the trained one: what it does is noise.

        Raises:
            FrameworkError: there is no adapter.
        """

    def train(self, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun) -> TrainResult:
        """Train on `rows` and save the weights into `run.checkpoint`, those that were set aside where some were.

        After each log entry `run.on_step` is called, and obeyed before the next step is made. A validation, the loss of
        `validation` and what `run.measure` gives, comes after the steps of which `health.schedule.is_due` says so, and
        is told with the entry of its step. Where there was one before, the end of the training is one too; a training
        that is stopped between two tells its last entry again with it.
        """

    def restore(self, checkpoint: Path) -> None:
        """Put the trained weights of an earlier run into place."""

    def save_tokenizer(self, folder: Path) -> None:
        """Write tokenizer and chat template."""


@dataclass(frozen=True)
class TrainRun:
    """Where a training writes, whom it tells about each step, and what is measured at a validation besides the loss.

    What `on_step` gives is to be obeyed; None means to go on. What it raises ends the training, and nothing is saved.
    """

    checkpoint: Path
    scratch: Path
    on_step: Callable[[Step], Order | None]
    measure: Callable[[], Mapping[str, float]] = dict


@runtime_checkable
class Divisible(Protocol):
    """A model that a group of processes can train. In each of them `framework.group.member()` says which one it is.

    There `train` works with the other processes; `run.on_step` is called in the first alone, which alone writes.
    """

    def unload(self) -> None:
        """Give back the memory of the weights; they are loaded again when they are next needed."""


Elsewhere = Callable[["Plan", "Model", "Data", TrainRun], "TrainResult"]
"""What trains in the place of `Model.train`; the model has the trained weights afterwards."""


@runtime_checkable
class Backend(Protocol):
    """An option of `trainer=`."""

    def open(self, plan: Plan) -> AbstractContextManager[Model]:
        """Import the libraries, pick device, dtype and the rest, and free all memory at the end.

        Raises:
            FrameworkError: this plan cannot run here; the message says what is missing and what to do.
        """


@runtime_checkable
class Audit(Protocol):
    """An option of `audit=`."""

    def audit(self, data: AuditData) -> Iterable[Finding]:
        """Look through the data and give what was found; nothing where all is well.

        The rows come in batches and may be gone through more than once. Keep no more than a few numbers of each:
        there may be millions.
        """


@runtime_checkable
class Metric(Protocol):
    """An option of `metric=` that looks at the text of one answer. It may have a `unit`, as `AnswerMetric` has."""

    higher_is_better: bool
    needs_reference: bool

    def score(self, answer: str, reference: str | None) -> float:
        """Score one answer; the mean over all answers is reported."""


class AnswerMetric(ABC):
    """An option of `metric=` that looks at more than the text of an answer, or at all answers at once. Subclass it.

    Attributes:
        higher_is_better: which way is up.
        needs_reference: it is given only answers to prompts with a reference.
        needs_log_probs: `Answered.reference_log_probs` is filled. The model reads every reference for that.
        exponential: the scores are logarithms; the number that is reported is e to the power of their mean.
        unit: of the number; one between 0 and 1 without a unit is a share, and is shown in percent.
    """

    higher_is_better: bool = True
    needs_reference: bool = False
    needs_log_probs: bool = False
    exponential: bool = False
    unit: str = ""

    @abstractmethod
    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Score the answers of one evaluation, at least one; one that cannot be scored has None.

        It is called for the base model and again for the trained one.
        """


AnyMetric = Metric | AnswerMetric
"""What an evaluator is given; `framework.scoring` calls either kind."""


@runtime_checkable
class Evaluator(Protocol):
    """An option of `evaluator=`."""

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Measure the model as it stands."""


@dataclass(frozen=True)
class ExportContext:
    """What an exporter may use.

    Attributes:
        run_dir: the folder of the run.
        checkpoint: the trained weights; they may lie elsewhere, and be another adapter than the plan's.
        config: the resolved config as plain values.
        plan: the run.
        artifacts: what the exporters before this one made, and earlier exports of the same weights.
        prompts: what the run asks before and after.
        kept: what an exporter worked out that a later one can use, by a name of its own.
    """

    run_dir: Path
    checkpoint: Path
    config: Mapping[str, Any]
    plan: Plan
    artifacts: Sequence[Artifact] = ()
    prompts: Sequence[Prompt] = ()
    kept: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Exporter(Protocol):
    """An option of `exporter=`. One that has `after`, names of options, comes after those of them that are chosen.

    One that has `reusable = True` is costly, and its artifacts depend on the weights and the config alone: where an
    earlier export of the run made them of the same ones and they are still whole, it is not asked again.

    One that has `check(model, plan)` is asked before anything is trained; it raises a FrameworkError where the export
    of this model will fail.
    """

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the artifacts below `context.run_dir` and name them."""


class Logger:
    """An option of `logger=`. Subclass it and override what is of interest: the methods do nothing by themselves.

    A logger that raises is switched off with a warning; it never ends a run.
    """

    def planned(self, plan: Plan) -> None:
        """Take note of the plan. Nothing has been written yet, and the data may still be refused."""

    def forecast(self, forecast: Forecast) -> None:
        """Take what the run will need; it comes after the plan, and again with the rows that the data stage found."""

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Open files or connections: everything has been checked and the run folder exists."""

    def stage_started(self, stage: str) -> None:
        """Take note that a stage begins."""

    def step(self, step: Step) -> None:
        """Take one entry of the training; one that is told again has a validation now."""

    def trouble(self, trouble: Trouble) -> None:
        """Take what goes wrong in the training, after the step at which it was seen, or after the evaluation."""

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Take the result of the baseline (`before`) or of the evaluation after training."""

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Take the report and the samples, (before, after) for each prompt."""

    def failed(self, error: BaseException) -> None:
        """Take note that the run ended with `error`."""

    def close(self) -> None:
        """Close what is open: the run is over, with a report, with an error, or after a part of its stages."""


@runtime_checkable
class Launcher(Protocol):
    """An option of `launch=`: in which process, or on which machine, the run happens."""

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan to its end and return its report; None where the report stage is not among its stages.

        Raises:
            FrameworkError: it cannot be started there, or the run ended with a user's mistake.
        """


@runtime_checkable
class Command(Protocol):
    """A command, `python -m framework NAME …`."""

    def main(self, arguments: Sequence[str]) -> int:
        """Run with the words after the name; return the exit code."""


@runtime_checkable
class Speaker(Protocol):
    """Who answers in a chat."""

    name: str
    context: int | None
    """Tokens that it reads, conversation and answer together; None where nobody knows of a limit."""

    def count(self, prompt: Prompt) -> int:
        """Return how many tokens a conversation has for this speaker."""

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None
    ) -> Iterator[str]:
        """Answer, as `Model.stream` does."""


@runtime_checkable
class SpeakerSource(Protocol):
    """A speaker that `framework_speakers` registers: `python -m framework chat RUN_DIR --NAME [WORD]`."""

    def open(self, run: SavedRun, word: str) -> AbstractContextManager[Speaker]:
        """Open what answers, and free it at the end. `word` is what was given behind the name; it may be empty.

        Raises:
            FrameworkError: what it needs of the run, or of this machine, is not there.
        """
