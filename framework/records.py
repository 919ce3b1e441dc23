"""The frozen values that pass between the stages. The results of a stage are saved as `<stage>.json` in the run folder.

`save` and `load` turn a record into JSON and back; paths are written as strings, relative to the run folder where they
lie in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """One raw row of a data set and where it stands, `orders.jsonl:12`."""

    fields: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class RawData:
    """What a source gives. Empty `validation`: it is split off `train`. Empty `prompts`: drawn from validation."""

    train: list[Row]
    validation: list[Row] = field(default_factory=list)
    prompts: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """A conversation to learn from: the canonical form behind every format."""

    messages: tuple[Message, ...]
    format: str
    where: str = ""


@dataclass(frozen=True)
class TokenRow:
    """A tokenized example. `labels` has the token id where the token is learned and -100 elsewhere; equal lengths."""

    input_ids: list[int]
    labels: list[int]
    where: str = ""

    @property
    def supervised(self) -> int:
        """Number of tokens that are learned."""
        return sum(label != -100 for label in self.labels)  # noqa: PLR2004 - torch's ignore_index


@dataclass(frozen=True)
class Prompt:
    """A question for the evaluation and, where known, the answer it should get."""

    messages: tuple[Message, ...]
    reference: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said; `stopped` tells whether it ended by itself."""

    text: str
    tokens: int
    stopped: bool


@dataclass(frozen=True)
class DataResult:
    """The data stage. Lengths and counts are in tokens unless the name says rows."""

    train_rows: int
    validation_rows: int
    prompts: int
    formats: dict[str, int]
    tokens: int
    supervised_tokens: int
    longest: int
    overflow_rows: int
    overflow_supervised_tokens: int
    fingerprint: str


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
    """Progress of training after an optimizer step. `tokens` counts since the start, padding left out."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    eval_loss: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """The train stage. `seconds` is the training loop alone; `train_loss` the mean over it, `last_loss` its end."""

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
    schema_version: int = 1


Record = TypeVar("Record")


def to_json(record: Any) -> Any:
    """Turn a record, or a value in one, into what `json` can write."""
    from cattrs.preconf.json import make_converter  # noqa: PLC0415 - 60 ms that --help need not pay

    return make_converter(omit_if_default=False).unstructure(record)


def save(record: Any, file: Path) -> None:
    """Write a record as JSON; the file is complete or absent, never half written."""
    half = file.with_name(file.name + ".part")
    half.write_text(json.dumps(to_json(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(file)


def load(kind: type[Record], file: Path) -> Record:
    """Read a record that `save` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: the file is not such a record.
    """
    from cattrs.errors import BaseValidationError  # noqa: PLC0415 - as above
    from cattrs.preconf.json import make_converter  # noqa: PLC0415

    try:
        return make_converter().structure(json.loads(file.read_text(encoding="utf-8")), kind)
    except (BaseValidationError, ValueError) as error:
        message = f"{file} is no {kind.__name__} of this version"
        raise ValueError(message) from error
