"""The results of the stages after the data, and the report that holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from framework.api.records.data import DataResult
from framework.api.records.health import TrainingIssue


class Aspect(Enum):
    """What a measure is about: what was to be learned, what was known before, what was copied from the rows."""

    task = "task"
    general = "general"
    copying = "copying"


class Outcome(Enum):
    """What a change comes to: `undecided` is one that chance, or any adapter of that size, could have made."""

    better = "better"
    worse = "worse"
    mixed = "mixed"
    undecided = "no significant difference"


@dataclass(frozen=True)
class Sample:
    """One prompt, its answer and the score of each metric that could score it."""

    prompt: str
    answer: str
    reference: str | None
    stopped: bool
    scores: dict[str, float]
    tokens: int = 0


@dataclass(frozen=True)
class Measure:
    """One number of an evaluation.

    `items` are the values of the things asked, in an order that is the same in every evaluation, None where one is not
    available; `weights` belong to them, all 1 where there are none. `value` is their mean, or where `exponential` is
    set e to the mean, as of a perplexity. Without items the significance of the value is unknown. A value between 0 and
    1 without a `unit`, such as nats or tokens, is a share and is shown in percent. `where` says where the row of each
    item stands, in measures of rows; `stderr` is the standard error of the value where whoever measured it says so.
    """

    value: float
    items: list[float | None] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    higher_is_better: bool = False
    aspect: Aspect = Aspect.task
    exponential: bool = False
    unit: str = ""
    where: list[str] = field(default_factory=list)
    stderr: float | None = None


@dataclass(frozen=True)
class EvalResult:
    """One evaluation of one model: its measures by name, the samples behind them, and what could not be measured."""

    measures: dict[str, Measure]
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, float]:
        """The value of each measure."""
        return {name: measure.value for name, measure in self.measures.items()}

    @property
    def figures(self) -> dict[str, float]:
        """The value of each measure and, as `NAME_stderr`, its standard error where one is known."""
        errors = {f"{name}_stderr": measure.stderr for name, measure in self.measures.items()}
        return self.metrics | {name: error for name, error in errors.items() if error is not None}


@dataclass(frozen=True)
class NullDistribution:
    """What random adapters of the same shape and size as the trained one come to: `null_distribution.json`."""

    results: list[EvalResult]
    why: str = ""


@dataclass(frozen=True)
class Step:
    """Progress of training after an optimizer step. `tokens` counts since the start, padding left out.

    `eval_loss` is the validation loss where there was a validation after this step, `metrics` what prompts gave then.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    eval_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainResult:
    """The train stage. `seconds` is the training loop alone; `train_loss` the mean over it, `last_loss` its end.

    `computed_tokens` went through the model: padding counts, and what rows share counts once. 0: not counted.
    `oom_fallbacks` says what was made smaller where memory ran out, in order; empty where it was enough. `issues` is
    what went wrong, `stopped` why the training ended before its last step, empty where it did not. `best_step` is the
    step of the best validation and `best_value` what it gave, by `trainer.early_stopping_metric`; with
    `trainer.keep_best` its weights were kept. `resumed` is the step from which the process resumed the training of
    another; the other numbers are those of the whole training, but for `oom_fallbacks` and the peak of the memory.
    `taken_from` is the folder, seen from the run's own, of the trial of a sweep that trained with the same settings and
    whose weights and numbers these are; empty where the run trained itself.
    """

    steps: int
    epochs: float
    train_loss: float
    last_loss: float
    seconds: float
    tokens: int
    supervised_tokens: int
    trainable_parameters: int
    total_parameters: int
    peak_memory_bytes: int
    checkpoint: str
    computed_tokens: int = 0
    oom_fallbacks: list[str] = field(default_factory=list)
    issues: list[TrainingIssue] = field(default_factory=list)
    stopped: str = ""
    best_step: int | None = None
    best_value: float | None = None
    resumed: int = 0
    taken_from: str = ""


@dataclass(frozen=True)
class Artifact:
    """Something an exporter wrote; `notes` are sentences on what one might not expect of it."""

    kind: str
    path: str
    bytes: int
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Origin:
    """Of what an exporter made the artifacts at `paths`: hashes of the trained weights and of the settings."""

    weights: str
    settings: str
    paths: list[str]


@dataclass(frozen=True)
class ExportResult:
    """The export stage; `origins` by the names of the exporters. Earlier artifacts that are still right stay listed."""

    artifacts: list[Artifact]
    origins: dict[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A measure before and after training; `before` or `after` is None where that evaluation did not run.

    `low` and `high` bound the difference, by a paired bootstrap over `pairs` items; `null` is the largest difference
    that a random adapter made. `outcome` is None where there is nothing to compare.
    """

    before: float | None
    after: float | None
    higher_is_better: bool
    aspect: Aspect = Aspect.task
    pairs: int = 0
    low: float | None = None
    high: float | None = None
    null: float | None = None
    outcome: Outcome | None = None
    unit: str = ""


@dataclass(frozen=True)
class Concern:
    """Something that is wrong with what a run came to, or would be: `flagged` says whether it is.

    `harm`, 0 to 1, is what it takes off the score of the verdict; `recommendation` says what to change.
    """

    name: str
    aspect: Aspect
    text: str
    recommendation: str
    flagged: bool
    harm: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether a run was worth it.

    `gained` sums up the measures of the task; `forgot` and `copied` are None where nobody looked. `score` is the mean
    gain of the task's measures less the harm of all concerns; `lines` say it in words.
    """

    gained: Outcome | None
    forgot: bool | None
    copied: bool | None
    score: float | None
    confidence: float
    concerns: list[Concern] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Objective:
    """What a run returns to a sweep."""

    name: str
    value: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class Report:
    """The whole run, as `report.json`; docs/reference/report.md explains each field."""

    name: str
    run_dir: str
    finished: str
    objective: Objective
    metrics: dict[str, Change]
    train: TrainResult | None
    tokens_per_second: float | None
    supervised_tokens_per_second: float | None
    seconds: dict[str, float]
    peak_memory_bytes: int | None
    hardware: dict[str, str]
    versions: dict[str, str]
    artifacts: list[Artifact]
    data: DataResult | None = None
    verdict: Verdict | None = None
    schema_version: int = 4


@dataclass(frozen=True)
class Results:
    """What a run has measured.

    Attributes:
        before: the base; None where it was not asked, or other things than afterwards.
        after: the tuned model.
        nulls: random adapters of the same shape and size; empty where none was asked.
        trained: the training; None where this folder holds none.
        changes: each measure before and after, as the verdict compares them.
    """

    before: EvalResult | None
    after: EvalResult
    nulls: Sequence[EvalResult] = ()
    trained: TrainResult | None = None
    changes: Mapping[str, Change] = field(default_factory=dict)
