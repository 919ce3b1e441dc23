"""The results of the stages after the data, and the report that holds them all."""

from __future__ import annotations

from dataclasses import dataclass, field

from framework.records.data import DataResult
from framework.records.health import Trouble


@dataclass(frozen=True)
class Sample:
    """One prompt, its answer and the score of each metric that could score it."""

    prompt: str
    answer: str
    reference: str | None
    stopped: bool
    scores: dict[str, float]


@dataclass(frozen=True)
class EvalResult:
    """One evaluation of one model: the mean of each metric, and the samples behind it."""

    metrics: dict[str, float]
    samples: list[Sample]


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
    `rungs` says what was made smaller where memory ran out, in order; empty where it was enough.
    `troubles` is what went wrong, `stopped` why the training ended before its last step, empty where it did not.
    `best_step` is the step of the best validation and `best_value` what it gave, by `trainer.early_stopping_metric`;
    with `trainer.keep_best` its weights were kept.
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
    rungs: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    stopped: str = ""
    best_step: int | None = None
    best_value: float | None = None


@dataclass(frozen=True)
class Artifact:
    """Something an exporter wrote."""

    kind: str
    path: str
    bytes: int


@dataclass(frozen=True)
class ExportResult:
    """The export stage."""

    artifacts: list[Artifact]


@dataclass(frozen=True)
class Change:
    """A metric before and after training; `before` or `after` is None where that evaluation did not run."""

    before: float | None
    after: float | None
    higher_is_better: bool


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
    schema_version: int = 2
