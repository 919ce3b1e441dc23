"""The config: `RunConfig` and one base dataclass for each group.

A plugin subclasses the base of its group and registers the subclass with a `Component`. The sentence under a field is
its documentation. `Annotated` adds its valid range and, with `Affects`, what has to be recomputed when the value
changes. Defaults live here; YAML below `conf/` holds only what differs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Interval, Len, Predicate
from omegaconf import MISSING

from framework.api.fields import NamesCode
from framework.api.problem import Problem
from framework.api.process_group import ProcessGroup
from framework.util.affects import Affects

__all__ = [
    "Action",
    "AdapterConfig",
    "Affects",
    "Aspect",
    "AuditConfig",
    "CallbackConfig",
    "CommandConfig",
    "DataConfig",
    "EvaluatorConfig",
    "ExporterConfig",
    "FailOn",
    "FormatConfig",
    "HealthConfig",
    "ImportanceSampling",
    "LaunchConfig",
    "Learn",
    "LoggerConfig",
    "LossConfig",
    "MethodConfig",
    "MetricConfig",
    "ModelConfig",
    "OnBadRow",
    "OptimizerConfig",
    "Overflow",
    "PassCost",
    "PlanConfig",
    "ProofMode",
    "QuantizationConfig",
    "Rates",
    "RewardConfig",
    "Role",
    "RolloutConfig",
    "RunConfig",
    "RunSettings",
    "SamplerConfig",
    "SamplingParams",
    "ScheduleConfig",
    "SpeakerConfig",
    "Stage",
    "Thinking",
    "Thoughts",
    "TrainerConfig",
    "VerdictConfig",
    "WeightGroup",
    "plain_name",
]


NAME_BYTES, SLASHES = 128, {"/", "\\"}
SHORTEST_CUT = 8
"""The fewest tokens of `data.cut`."""


def plain_name(value: str) -> bool:
    """of at most 128 bytes, without slashes or control characters."""  # noqa: D403 - part of the sentence that an error tells
    # Files are called by it, with more letters after them; a terminal obeys control characters.
    return (
        bool(value.strip(". ")) and value.isprintable() and len(value.encode()) <= NAME_BYTES and not SLASHES & {*value}
    )


class Stage(Enum):
    """The stages of a run, in their order."""

    plan = "plan"
    data = "data"
    baseline = "baseline"
    train = "train"
    evaluate = "evaluate"
    export = "export"
    report = "report"


class Overflow(Enum):
    """What happens to a row longer than `trainer.max_seq_length`."""

    drop = "drop"
    truncate = "truncate"
    fail = "fail"


class ProofMode(Enum):
    """What happens when rows do not teach what inference will do."""

    fail = "fail"
    warn = "warn"


class Learn(Enum):
    """Which part of a conversation is learned.

    `each` makes one row per answer, with the turns before it as inference renders them. So each answer is learned as it
    is generated, even if the chat template renders earlier answers differently, as Qwen3's and gpt-oss's do.
    `everything` also learns the questions.
    """

    assistant = "assistant"
    last = "last"
    each = "each"
    everything = "everything"


class Thoughts(Enum):
    """Where the thoughts of an answer go: as in the data, into `reasoning_content`, into the answer, or nowhere."""

    keep = "keep"
    field = "field"
    inline = "inline"
    drop = "drop"


class Role(IntEnum):
    """What a token row is in its group.

    The answer, one that was not preferred, a question without an answer, or a question with the answer to another one.
    """

    answer = 0
    rejected = 1
    prompt = 2
    mismatched = 3


class OnBadRow(Enum):
    """What happens to a row that cannot be read."""

    fail = "fail"
    skip = "skip"


class Thinking(Enum):
    """Whether a chat template lets the model think first. `auto` leaves that to the template's default."""

    auto = "auto"
    on = "on"
    off = "off"


@dataclass
class ModelConfig:
    """A base model."""

    THINKING_SWITCHES: ClassVar[tuple[str, ...]] = ("enable_thinking", "thinking")
    """Variables of chat templates that switch thinking on or off; most templates use Qwen's or DeepSeek's."""
    chat_template: str | None = None
    """A chat template instead of the tokenizer's: a Jinja file or, for a base model without one, alpaca, chatml, gemma,
    llama3, mistral or phi3."""
    thinking: Thinking = Thinking.auto
    """Whether the chat template lets the model think before it answers, in training and generation."""
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Switches of the chat template, for training and generation, such as {enable_thinking: false} for Qwen3."""
    trust_remote_code: Annotated[bool, NamesCode()] = False
    """Run Python code that comes with the model. false: such a model is refused."""
    new_tokens: list[str] = field(default_factory=list)
    """Tokens to add to the tokenizer, such as `["<tool>"]`: their rows of embedding and output head are trained and
    saved with the adapter."""

    def source(self) -> str:
        """Return the folder or id of the weights, as the user names it; empty if no setting does."""
        return ""

    @property
    def sets_thinking(self) -> bool:
        """Whether `thinking` decides, and not the template's default."""
        return self.thinking is not Thinking.auto

    @property
    def template_switches(self) -> dict[str, Any]:
        """The values for the chat template: `thinking` under each of its usual names, and `chat_template_kwargs`."""
        if not self.sets_thinking:
            return dict(self.chat_template_kwargs)
        return dict.fromkeys(self.THINKING_SWITCHES, self.thinking is Thinking.on) | self.chat_template_kwargs


@dataclass
class QuantizationConfig:
    """How the frozen base weights are stored."""


@dataclass
class AdapterConfig:
    """Which weights are trained."""

    trains_all: ClassVar[bool] = False
    """Whether it trains all weights of the model, and adds none."""

    def starts_from(self) -> str:
        """Return the trained adapter that the training starts from, as the user names it; empty for a new adapter."""
        return ""

    def rank(self) -> int | None:
        """Return the rank of its matrices; None if it has none."""
        return None

    def may_change(self, weight: str) -> bool:
        """Whether merging it may change a weight of the base, by the weight's whole name."""
        del weight
        return True

    def beyond_matrices(self) -> str:
        """Name the setting that trains more than two matrices of one rank beside each layer; empty if none does."""
        return ""


@dataclass
class DataConfig:
    """Where the rows come from."""

    # How many rows are mixed in depends on how many are left for training.
    validation_split: Annotated[float, Interval(ge=0, lt=1), ~Affects.unmixed_rows] = 0.1
    """Share of the rows held out for the validation loss, drawn with `data.seed`. 0 holds out none."""
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1), ~Affects.unmixed_rows] = 42
    """Seed of the split, and of which rows are mixed in, so trainings with other seeds are measured on the same
    rows."""
    overflow: Annotated[Overflow, ~Affects.rows] = Overflow.drop
    """Rows longer than `trainer.max_seq_length`: drop them, truncate them (the stop token is lost), or fail."""
    proof: Annotated[ProofMode, ~Affects.rows] = ProofMode.fail
    """Rows that do not teach what inference will do: fail, or warn and train on what is left of them."""
    on_bad_row: OnBadRow = OnBadRow.fail
    """Rows that cannot be read or fit no format: fail, or skip them; the report says how many."""
    max_rows: Annotated[int | None, Gt(0)] = None
    """Read only this many rows, starting with the first."""
    max_row_characters: Annotated[int, Gt(0)] = 5_000_000
    """Most characters that a row may have: tokenizing takes 50 times its size in memory."""
    cut: Annotated[int | None, Ge(SHORTEST_CUT)] = None
    """Cut plain text into rows of at most this many tokens. A conversation stays whole; see `data.overflow`."""
    learn: Learn = Learn.assistant
    """What is learned of a conversation: all answers (assistant), only the last one (last), each one in a row of its
    own (each), or all turns (everything)."""
    mix: list[dict[str, Any]] = field(default_factory=list)
    """Other data to mix in: `[{data: hub, path: owner/name, weight: 0.1}]`. `weight` is a share of the training rows,
    `count` a number of rows."""

    def source(self) -> str:
        """Return the file, folder or id of the rows, as the user names it; empty if no setting does."""
        return ""

    def text_encoding(self) -> str:
        """Return the encoding of the files, if they are text."""
        return "utf-8"

    def validation_names(self) -> tuple[str, ...]:
        """Return the names of the sets of held-out rows that have a loss of their own."""
        return ()

    def brings_validation(self) -> bool:
        """Whether settings name held-out rows, so that none are split off."""
        return bool(self.validation_names())


@dataclass
class FormatConfig:
    """How a row becomes a conversation."""

    guessed: ClassVar[bool] = True
    """Whether `format=auto` may find it without its settings."""
    columns: dict[str, str | None] = field(default_factory=dict)
    r"""Names of fields in your data: `{instruction: question, output: answer}` reads `question` as `instruction`. Text
    with braces joins columns, `{output: "{category}\n{answer}"}`; null leaves a field out. Dots lead into objects and
    lists: `choices.0.message.content`."""
    system_prompt: Annotated[str | None, Len(1)] = None
    """A system prompt for conversations that have none."""
    strip: bool = False
    """Remove white space at both ends of every turn. Some templates cannot be masked exactly without this."""
    thoughts: Thoughts = Thoughts.keep
    """Thoughts of an answer: keep them where they are, move them to `reasoning_content` (field) or between <think> and
    </think> (inline), or drop them."""
    cluster: Annotated[str | None, Len(1)] = None
    """A field whose value is the same in rows that belong together, such as `customer`. They stay on one side of the
    split, and the verdict counts them as one."""

    def options(self) -> int:
        """Return how many options each row has, if the settings name them; else 0."""
        return 0


@dataclass
class AuditConfig:
    """Checks of the data before training."""

    def cleaned(self) -> str | None:
        """Return the file of rows that this audit writes, to train on in place of the source's; None without one."""
        return None


@dataclass(frozen=True)
class PassCost:
    """What a training takes beside one row's forward and backward pass: for the plan's time and memory.

    Attributes:
        rows: rows in a group.
        more_forwards: forward passes of each row without gradients, such as those of a reference.
        rollout_tokens: tokens that are generated for a group.
        asks_base: whether each step asks the model that the training starts from, since the answers come with the step.
        iterations: optimizer steps on the rows of a step, before those of another one come.
        apart: whether rows of a group may go through passes of their own.
    """

    rows: float = 1.0
    more_forwards: float = 0.0
    rollout_tokens: float = 0.0
    asks_base: bool = False
    iterations: int = 1
    apart: bool = False


@dataclass(frozen=True)
class SamplingParams:
    """How answers are drawn: what vLLM's SamplingParams and transformers' GenerationConfig have in common.

    Attributes:
        n: answers to each prompt.
        max_new_tokens: most tokens of an answer, the stop token included.
        temperature: what the logits are divided by.
        top_p: draw from the likeliest tokens with this total probability.
        seed: of the draws.
        first: the number of the first prompt among those that share the seed; another process draws the answers to the
            prompts before it.
    """

    n: int = 1
    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    first: int = 0


@dataclass(frozen=True)
class Rates:
    """Learning rates outside of which a training rarely goes well, and the one to take instead."""

    least: float
    most: float
    usual: float


@dataclass
class MethodConfig:
    """What is learned from the rows. The class attributes are what the plan knows before anything is loaded."""

    roles: ClassVar[tuple[Role, ...]] = (Role.answer,)
    """The roles of the rows in its groups."""
    own_objective: ClassVar[bool] = False
    """Whether it brings its objective, so that `loss=` chooses nothing."""
    adapter_rates: ClassVar[Rates] = Rates(2e-5, 1e-3, 2e-4)
    full_rates: ClassVar[Rates] = Rates(0.0, 1e-4, 2e-5)
    epochs: ClassVar[float | None] = None
    """Passes over the rows that suit it. Then it also brings the learning rate that suits it; what is set wins."""
    described: ClassVar[tuple[str, ...]] = ()
    """Its settings that say what a training is: they are shown at its beginning and in its report."""
    learns_chosen: ClassVar[str] = ""
    """Of a method of preferences, the override with which it learns the chosen answers too; empty if it has none."""
    health_rules: ClassVar[frozenset[str] | None] = None
    """The rules of `health` that suit its losses; None for all."""
    samples: ClassVar[bool] = False
    """Whether it learns from answers that the model gives during the training: it needs `reward=`, and its rows may
    have no answer."""
    chooses: ClassVar[bool] = False
    """Whether a group has a row for each option of the format."""
    texts: ClassVar[bool] = False
    """Whether it learns plain texts: long ones are cut at `trainer.max_seq_length`, several fill a block of this length
    together, and the verdict goes by the perplexity of those that are held out."""

    def training_defaults(self, adapter: AdapterConfig) -> Mapping[str, float]:
        """Return the settings of the trainer that it brings, for a run that sets none."""
        rates = self.full_rates if adapter.trains_all else self.adapter_rates
        return {} if self.epochs is None else {"learning_rate": rates.usual, "num_train_epochs": self.epochs}

    def cost(self) -> PassCost:
        """Return what a group takes."""
        return PassCost(rows=len(self.roles))

    def measures(self) -> tuple[str, ...]:
        """Return the names of what it measures on held-out rows in addition to the loss; higher is better.

        Each can be the objective of a sweep, and decide which validation is the best.
        """
        return ()

    def sampling(self, seed: int) -> SamplingParams:
        """Return how answers are drawn; a method that samples has settings for it."""
        return SamplingParams(seed=seed)

    def divergence_weight(self) -> float:
        """Return how strongly it keeps the model near its reference, its beta; 0 if it does not."""
        return 0.0

    def steps_per_draw(self) -> int:
        """Return for how many optimizer steps answers are drawn at once."""
        return 1

    def tool_environment(self) -> tuple[str, int | None] | None:
        """Return the environment whose tools answers may call, and the most rounds of calls; None without tools."""
        return None

    def draw_seconds(self) -> float:
        """Return how many seconds a draw of answers may take; a method that samples has a setting for it."""
        return 3600.0

    def has_own_reward(self) -> bool:
        """Whether something else than `reward=` may score the answers; it reads the fields of the rows."""
        return False


class ImportanceSampling(Enum):
    """How the loss of tokens is corrected that were drawn with other log-probabilities than the training computes.

    The names are TRL's, `vllm_importance_sampling_mode`.
    """

    none = "none"
    token_truncate = "token_truncate"  # noqa: S105 - no password
    token_mask = "token_mask"  # noqa: S105 - as above
    sequence_truncate = "sequence_truncate"
    sequence_mask = "sequence_mask"


@dataclass
class RolloutConfig:
    """What draws the answers of a method that samples them."""

    tried: ClassVar[bool] = True
    """Whether somebody has run it on the hardware that it is for; the plan names one that nobody has."""
    importance_sampling_mode: ImportanceSampling = ImportanceSampling.none
    """Correct for log-probabilities of the draw that differ from the training's: multiply the loss of a token by the
    ratio of its probabilities, or of its answer's (`sequence`), limited to the range (`truncate`), or 0 outside of it
    (`mask`). It takes a forward pass of all answers."""
    importance_sampling_clip_max: Annotated[float | None, Gt(0)] = 3.0
    """The highest ratio. null: no limit."""
    importance_sampling_clip_min: Annotated[float | None, Interval(ge=0)] = None
    """The lowest ratio. null: no limit."""
    max_logp_difference: Annotated[float, Interval(gt=0, le=1000)] = 1.0
    """End the run if the log-probabilities of a draw differ by more than this from the training's, in nats a token on
    average: then the answers are those of other weights."""

    def problems(self) -> Iterator[Problem]:
        """Say which settings do not go together, a sentence each."""
        low, high = self.importance_sampling_clip_min, self.importance_sampling_clip_max
        if low is not None and high is not None and low >= high:
            yield Problem(
                f"rollout.importance_sampling_clip_min={low:g} has to be below clip_max={high:g}",
                ("rollout.importance_sampling_clip_min",),
            )
        if self.importance_sampling_mode.value.endswith("truncate") and low is high is None:
            yield Problem(
                f"rollout.importance_sampling_mode={self.importance_sampling_mode.value} without limits truncates "
                "nothing: set rollout.importance_sampling_clip_max=3",
                ("rollout.importance_sampling_mode",),
            )


@dataclass
class LossConfig:
    """How the log-probabilities of a step become a loss. The class attributes are what the plan knows of it."""

    plain: ClassVar[bool] = False
    """It is the mean over all learned tokens, what a run has if nothing else is chosen: no weights are computed for it,
    and a method that brings its own objective may pass it over."""
    roles: ClassVar[tuple[Role, ...]] = (Role.answer,)
    """The roles of the rows that it reads in each group."""
    facts: ClassVar[tuple[str, ...]] = ()
    arrays: ClassVar[tuple[str, ...]] = ()
    """The facts and arrays that each group has to have."""
    linear: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    whole_step: ClassVar[bool] = False
    """See `Objective`."""


WARMUP = 10
"""Warm-up steps if no setting says how many."""
UNPLANNED_ANSWERS = 8
"""Answers made at once if their memory cannot be estimated."""


@dataclass
class TrainerConfig:
    """The settings that every training backend supports."""

    # Not of `base`: what is about learning.
    learning_rate: Annotated[float, Interval(gt=0, le=1), ~Affects.base] = 2e-4
    """Peak learning rate. 2e-4 suits LoRA; full fine-tuning needs about a tenth of it. Methods of preferences and
    rewards bring a lower default."""
    # No training reaches the upper bounds; a number without one would be written with a hundred digits.
    num_train_epochs: Annotated[float, Interval(gt=0, le=1_000_000), ~Affects.base] = 3.0
    """Passes over the training rows; `max_steps` overrides it. Methods of preferences and rewards bring 1."""
    max_steps: Annotated[int | None, Interval(gt=0, le=1_000_000_000), ~Affects.base] = None
    """Stop after this many optimizer steps."""
    per_device_train_batch_size: Annotated[int, Gt(0), ~Affects.resume] = 2
    """Rows in one forward pass; trainers that count a pass in tokens on a GPU keep the step as it is."""
    gradient_accumulation_steps: Annotated[int, Gt(0), ~(Affects.base | Affects.resume)] = 4
    """Forward passes in one optimizer step."""
    per_device_eval_batch_size: Annotated[int, Gt(0), ~Affects.resume] = 8
    """Rows in one forward pass when the validation loss is computed."""
    max_seq_length: Annotated[int, Gt(0)] = 2048
    """Longest row in tokens; `data.overflow` says what happens to longer ones."""
    warmup_steps: Annotated[int | None, Ge(0), ~Affects.base] = None
    """Steps over which the learning rate rises to its peak. null: by `warmup_ratio`; if that is null too, 10."""
    warmup_ratio: Annotated[float | None, Interval(ge=0, lt=1), ~Affects.base] = None
    """The warm-up as a share of all steps, instead of `warmup_steps`."""
    weight_decay: Annotated[float, Ge(0), ~Affects.base] = 0.01
    """The optimizer's weight decay; decoupled from the gradient in AdamW and Lion."""
    max_grad_norm: Annotated[float, Gt(0), ~Affects.base] = 1.0
    """Gradients with a larger norm are scaled down to this one."""
    logging_steps: Annotated[int, Gt(0), ~(Affects.base | Affects.resume)] = 1
    """Optimizer steps between two log entries."""
    eval_steps: Annotated[int | None, Gt(0), ~Affects.base] = None
    """Optimizer steps between two validations, of which one is at the end. null: a validation at the end of each
    epoch."""
    early_stopping_patience: Annotated[int | None, Gt(0), ~Affects.base] = None
    """Stop after this many validations in a row without a new best one. null: never."""
    early_stopping_metric: Annotated[str, ~Affects.base] = "eval_loss"
    """The measure that decides which validation is the best: eval_loss, eval_loss_NAME of a validation set, or a metric
    of the run, for which prompts are answered at each validation."""
    keep_best: Annotated[bool, ~Affects.base] = True
    """Keep the weights of the best validation, not those of the last step."""

    def planned_answers(self) -> int | None:
        """Return how many answers are made at once; None: the plan is to set `trainer.answers_at_once`."""
        return UNPLANNED_ANSWERS

    def may_use_gpu(self) -> bool:
        """Whether its settings let it train on a GPU."""
        return True

    def validation_is_due(self, step: int, epoch_steps: int, total_steps: int, *, validated: bool) -> bool:
        """Whether a validation comes after a step, from 1; all backends use this, so that all do at the same steps.

        At the end of the training there is one only if one was `validated` before: with nothing to choose from, the
        evaluation that follows is enough.
        """
        if step >= total_steps:
            return validated
        return step % (self.eval_steps or epoch_steps) == 0

    def answers(self) -> bool:
        """Whether what it trains answers prompts."""
        return True

    def warmup(self, steps: int) -> int:
        """Return the warm-up steps of a training with this many steps, for a schedule that warms up: `Plan.warmup`."""
        if self.warmup_ratio is not None:
            return math.ceil(self.warmup_ratio * steps)
        return WARMUP if self.warmup_steps is None else self.warmup_steps


@dataclass
class WeightGroup:
    """Weights that are trained with settings of their own."""

    match: Annotated[str, Len(1)] = MISSING
    r"""A regular expression, such as `embed` or `layers\.[0-3]\.`, that is searched for in the names of trained
    weights. A weight belongs to the first group that matches."""
    learning_rate: Annotated[float | None, Interval(gt=0, le=1)] = None
    """Peak learning rate of these weights. null: `trainer.learning_rate`."""
    weight_decay: Annotated[float | None, Ge(0)] = None
    """Weight decay of these weights. null: `trainer.weight_decay`, and none for biases and norms."""


@dataclass
class OptimizerConfig:
    """What updates the weights. Its learning rate and weight decay are in `trainer`."""

    shards: ClassVar[bool] = False
    """Whether it can update weights that lie in pieces on several GPUs, as `launch=fsdp2` has them."""
    own_schedule: ClassVar[bool] = False
    """Whether it replaces the schedule: it is refused with any other than `schedule=constant`, and warms up itself."""
    groups: list[WeightGroup] = field(default_factory=list)
    """Weights with a learning rate or weight decay of their own: `[{match: embed, learning_rate: 1e-5}]`."""


@dataclass
class ScheduleConfig:
    """How the learning rate changes during a training. The warm-up's length is in `trainer`."""

    warms_up: ClassVar[bool] = True
    """Whether it has a warm-up; if not, one that is set is refused."""


@dataclass
class SamplerConfig:
    """In which order a training sees its rows."""


@dataclass
class CallbackConfig:
    """What follows a training, and may stop it or change its learning rate."""


@dataclass
class PlanConfig:
    """The plan, which is computed before anything is loaded."""

    gpu: Annotated[str | None, Len(1)] = None
    """Plan for this GPU instead of the one in this machine: rtx3060, a100_80, or a size such as 24GiB."""
    price_per_hour: Annotated[float | None, Gt(0)] = None
    """What the machine costs for an hour, in any currency."""
    apply: bool = False
    """If a run does not fit, apply the first changes that make it fit."""
    instead: ClassVar[Mapping[str, str]] = {
        "calibrate": "is gone: no probe corrects the estimate any more. Leave it out"
    }


class FailOn(Enum):
    """What a verdict may say for a run to end with exit code 3."""

    worse = "worse"
    undecided = "undecided"
    forgot = "forgot"
    copied = "copied"


@dataclass
class VerdictConfig:
    """What the verdict on a run is based on, and how certain it has to be."""

    primary: Annotated[str | None, Len(1)] = None
    """The measure that decides the gain. null: the first metric that compares the content of answers with references
    and suits them; the data stage names it."""
    margin: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    """How much worse still counts as no worse: for a share in points (0.05: 5 points), for any other measure as a share
    of the base's value."""

    confidence: Annotated[float, Interval(ge=0.5, lt=1)] = 0.95
    """Confidence of the intervals: a run without any effect is called better or worse in less than the remaining 5% of
    cases."""
    resamples: Annotated[int, Interval(ge=100, le=100_000)] = 9999
    """How many sign patterns the sign-flip test draws if more than 16 pairs differ."""
    fail_on: list[FailOn] = field(default_factory=list)
    """End a run with exit code 3, after everything has been written, if the verdict says one of these or nothing
    measured it: `worse` (any measure of the task too), `undecided` (neither a gain, nor is a loss of more than `margin`
    ruled out), `forgot`, `copied`. Not for the trials of a sweep."""


@dataclass
class LaunchConfig:
    """Where a run happens: in which process, or on which machine."""

    def group(self) -> ProcessGroup | None:
        """Return the group of processes that trains; None if it is a single process."""
        return None

    def writes(self) -> bool:
        """Whether this process runs the stages and writes into the run folder. Others of a group only help it."""
        return True

    def unreported(self) -> str:
        """Say why this process does not get the report of the run; empty if it does."""
        return ""


@dataclass
class MetricConfig:
    """A score for each answer, averaged over all answers."""

    @property
    def compares(self) -> bool:
        """Whether it also compares answers with those of the base, which gives `NAME_wins`."""
        return False

    def unsuited(self, references: Sequence[str]) -> str:
        """Say why it hardly tells good answers from bad ones that should be like these; empty if it does."""
        del references
        return ""

    def applies(self, references: Sequence[str]) -> bool:
        """Whether there is something for it in these references; the run leaves it out if not."""
        del references
        return True


@dataclass
class RewardConfig(MetricConfig):
    """What a method that samples answers learns to raise. Every metric is an option too."""

    weight: Annotated[float, Interval(ge=-1e6, le=1e6)] = 1.0
    """The factor of this reward in the sum of all rewards."""
    max_seconds: Annotated[float, Gt(0), Affects.nothing] = 600.0
    """Most seconds for the answers of a step. Then the run ends, and can be resumed."""

    def held_bytes(self, *, on_gpu: bool) -> float:
        """Return the bytes that it keeps beside the model."""
        del on_gpu
        return 0.0


class Aspect(Enum):
    """What a measure is about: the task, what the model knew before, or copying from the rows."""

    task = "task"
    general = "general"
    copying = "copying"


@dataclass
class EvaluatorConfig:
    """A way to measure a model, run before and after training."""

    def measures(self) -> tuple[str, ...]:
        """Return the names of what it measures in addition to the metrics of the run: each can be the objective."""
        return ()

    def aspects(self) -> tuple[Aspect, ...]:
        """Return what its measures are about besides the task; `verdict.fail_on=[forgot,copied]` needs them."""
        return ()

    def asks(self, prompts: int) -> int:
        """Return how many of the data's `prompts` it asks."""
        del prompts
        return 0

    def answer_tokens(self) -> int | None:
        """Return how many tokens an answer may have; None if it asks for none."""
        return None


@dataclass
class ExporterConfig:
    """Something made from the trained model."""

    def folder_name(self) -> str | None:
        """Return the folder that it writes into the run folder; None if no setting names one."""
        return None


@dataclass
class LoggerConfig:
    """A destination for the progress of a run."""


@dataclass
class CommandConfig:
    """A command other than a run. It parses its own arguments, so this class has no fields."""

    usage: ClassVar[str] = ""
    """The arguments as `--help` of the program shows them after the name: `[FOLDER]`."""


@dataclass
class SpeakerConfig:
    """A custom chat backend, which answers in `python -m framework chat` in place of the model. It has no fields."""


class Action(Enum):
    """What happens on an issue: nothing, a report, a report and a lower learning rate, or the end of the training."""

    ignore = "ignore"
    warn = "warn"
    lower = "lower"
    stop = "stop"


@dataclass
class HealthConfig:
    """How a run reacts to problems in its training."""

    nan: Action = Action.stop
    """The loss, or in many log entries in a row the gradient norm, is not a finite number."""
    spike: Action = Action.warn
    """The training loss jumps far above what it was."""
    rising_loss: Action = Action.warn
    """The training loss rises, and stays high."""
    oscillation: Action = Action.warn
    """The training loss jumps up again and again, or swings and does not fall."""
    plateau: Action = Action.warn
    """The training loss stays where it began, or the gradients or the loss are 0."""
    exploding_gradient: Action = Action.warn
    """The gradient norm, before clipping, grows to many times what it was."""
    rising_eval_loss: Action = Action.warn
    """The validation loss rises by more than it scatters. If the training loss does not rise, the rows are
    memorized."""
    falling_likelihood: Action = Action.warn
    """Of preferences: chosen answers become much less likely, while the margin to the rejected ones grows."""
    falling_reward: Action = Action.warn
    """The mean reward or the margin falls below its start, or the margin stays at 0."""
    drawn_answers: Action = Action.warn
    """Of `method=grpo`: all drawn answers have the same reward, all are cut off, or they are far from those of the
    reference."""
    truncated_answers: Action = Action.warn
    """Answers do not end by themselves. During the training only if `trainer.early_stopping_metric` is a metric of
    answers."""
    lower_to: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """The factor for all remaining learning rates if the action is `lower`."""


ABOUT_ROWS = Affects.rows | Affects.data | Affects.audit | Affects.baseline
ABOUT_MODEL = Affects.base | Affects.resume
OF_TRAINING = Affects.training | Affects.resume | Affects.exports
"""What is about the training and nothing else; an export names it."""


@dataclass
class RunSettings:
    """The settings of a run outside its options, those that a `Plan` keeps as they are."""

    # Exporters call files by it, and other settings may refer to it.
    name: Annotated[str, Predicate(plain_name), Affects.exports] = "run"
    """Name of the folder below `outputs/`."""
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1), OF_TRAINING] = 42
    """Seed of the training: the order of the rows, the adapter's initial weights, dropout. Trials of a sweep that
    differ in the seed alone are one point."""
    stages: Annotated[list[Stage], Len(1), Affects.training] = field(default_factory=lambda: list(Stage))
    """The stages to run. Some can run alone, or later with the `run_dir` of a finished run."""
    run_dir: Annotated[str | None, Len(1), Affects.nothing] = None
    """Folder of this run; default: outputs/<name>/<time>. Given the folder of an earlier run, the run continues from
    its results. `s3://BUCKET/FOLDER`, or another URL that fsspec knows, is on an object store."""
    store_seconds: Annotated[float, Gt(0), Affects.nothing] = 60.0
    """Seconds that the end of a run waits for an object store that takes nothing more. A training never waits."""
    grace_seconds: Annotated[float, Gt(0), Affects.nothing] = 25.0
    """Seconds that a run has after Ctrl-C, SIGTERM, SIGUSR1, SIGHUP or SIGXCPU to save a checkpoint and to close its
    trackers. Then it ends."""
    # The code of a plugin is in the keys of what it makes.
    plugins: Annotated[list[str], NamesCode(), Affects.nothing] = field(default_factory=list)
    """Python files to load as plugins for this run, `plugins=[./mine.py]`; only on the command line."""
    # Exports have a hash of the weights in their key.
    checkpoint: Annotated[str | None, Len(1), Affects.base | Affects.training] = None
    """A folder with trained weights to evaluate or export, instead of those in `run_dir`: an adapter of peft, or a
    whole model."""
    objective: Annotated[str, Affects.nothing] = "verdict.primary"
    """The value by which a sweep compares its trials: verdict.primary, eval_loss, train_loss, verdict.score, or a
    measure of the run. verdict.primary is the deciding metric over the validation rows or, without one, eval_loss."""
    share: Annotated[bool, Affects.training] = True
    """Trials of a sweep in one process share the frozen base, the tokenized rows, the base's answers, and the training
    if they differ only in their exports."""
    plan: Annotated[PlanConfig, Affects.training] = field(default_factory=PlanConfig)
    """The plan, which is computed before anything is loaded."""
    health: Annotated[HealthConfig, Affects.training] = field(default_factory=HealthConfig)
    """How a run reacts to problems in its training."""
    verdict: Annotated[VerdictConfig, Affects.training] = field(default_factory=VerdictConfig)
    """What the verdict on a run is based on, and how certain it has to be."""


@dataclass
class RunConfig(RunSettings):
    """The config of one run. The mark of a section limits what the settings in it can affect."""

    # `encoding` and `base_key` of the model are in the keys of what is about rows.
    model: Annotated[ModelConfig, ~ABOUT_ROWS] = MISSING
    quantization: Annotated[QuantizationConfig, ~ABOUT_ROWS] = MISSING
    adapter: Annotated[AdapterConfig, ~ABOUT_ROWS] = MISSING
    # The rows have a hash in the keys of what is about the model.
    data: Annotated[DataConfig, ~ABOUT_MODEL] = MISSING
    format: Annotated[FormatConfig, ~ABOUT_MODEL] = MISSING
    audit: Annotated[dict[str, AuditConfig], Affects.audit | Affects.training] = field(default_factory=dict)
    # It decides what is encoded of a row, and what is measured.
    method: Annotated[MethodConfig, ~Affects.base] = MISSING
    loss: Annotated[LossConfig, ~(ABOUT_ROWS | Affects.base)] = MISSING
    # The data stage reads the length limit and the batch size, which its keys name; audits may read all of it.
    trainer: Annotated[TrainerConfig, ~(Affects.rows | Affects.data | Affects.baseline)] = MISSING
    optimizer: Annotated[OptimizerConfig, OF_TRAINING] = MISSING
    schedule: Annotated[ScheduleConfig, OF_TRAINING] = MISSING
    sampler: Annotated[SamplerConfig, OF_TRAINING] = MISSING
    callback: Annotated[dict[str, CallbackConfig], OF_TRAINING] = field(default_factory=dict)
    launch: Annotated[LaunchConfig, Affects.training] = MISSING
    # The data stage audits them.
    rollout: Annotated[RolloutConfig, OF_TRAINING] = MISSING
    reward: Annotated[dict[str, RewardConfig], OF_TRAINING | Affects.audit] = field(default_factory=dict)
    metric: Annotated[dict[str, MetricConfig], Affects.baseline | Affects.training] = field(default_factory=dict)
    evaluator: Annotated[dict[str, EvaluatorConfig], Affects.baseline | Affects.training] = field(default_factory=dict)
    # An exporter's own settings are in the key of what it makes, and nothing else depends on them.
    exporter: Annotated[dict[str, ExporterConfig], Affects.nothing] = field(default_factory=dict)
    logger: Annotated[dict[str, LoggerConfig], Affects.nothing] = field(default_factory=dict)
