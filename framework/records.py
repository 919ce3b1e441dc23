"""The frozen values that pass between the stages. The results of a stage are saved as `<stage>.json` in the run folder.

`save` and `load` turn a record into JSON and back; paths are written as strings, relative to the run folder where they
lie in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar


@dataclass(frozen=True)
class ToolCall:
    """A function that the assistant calls."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user, assistant or tool.

    `reasoning_content` is what the assistant thought before it answered, `name` and `tool_call_id` say which call a
    tool's turn answers. An assistant's turn that is not `learned` is context only.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    tool_call_id: str = ""
    reasoning_content: str = ""
    learned: bool = True


@dataclass(frozen=True)
class Row:
    """One raw row of a data set and where it stands, `orders.jsonl:12`. A row that cannot be read has a `problem`."""

    fields: Mapping[str, Any]
    where: str
    problem: str = ""


@dataclass(frozen=True)
class RawData:
    """What a source gives. Empty `validation`: it is split off `train`. Empty `prompts`: drawn from validation.

    The rows are read as they are iterated over, and may be iterated over again. `key` names their content, a hash
    over the bytes of the files for example; empty: the rows are hashed one by one. `streamed` says that the rows come
    over a network as they are asked for, so that nobody reads them twice without need. `places` are the names of files
    as `Row.where` tells them: rows that were kept are told by these names.
    """

    train: Iterable[Row]
    validation: Iterable[Row] = ()
    prompts: Iterable[Row] = ()
    key: str = ""
    streamed: bool = False
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """A conversation to learn from: the canonical form behind every format.

    Attributes:
        messages: the turns; empty where `text` is given.
        format: the option of `format=` that made it.
        where: where its row stands.
        tools: JSON schemas of the functions that the assistant may call.
        rejected: of a preference pair, the turns that were not preferred; supervised training does not use them.
        text: plain text that is learned from its first to its last token, without a chat template.
    """

    messages: tuple[Message, ...]
    format: str
    where: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    rejected: tuple[Message, ...] = ()
    text: str | None = None


IGNORE = -100
"""The label of a token that is not learned, as torch's cross entropy has it."""


@dataclass(frozen=True)
class TokenRow:
    """A tokenized example. `labels` has the token id where the token is learned and -100 elsewhere; equal lengths.

    `problem` says why the row does not teach what inference will do; empty where it is proven that it does.
    """

    input_ids: list[int]
    labels: list[int]
    where: str = ""
    problem: str = ""

    @property
    def supervised(self) -> int:
        """Number of tokens that are learned."""
        return sum(label != IGNORE for label in self.labels)


@dataclass(frozen=True)
class Prompt:
    """A question for the evaluation and, where known, the answer it should get."""

    messages: tuple[Message, ...]
    reference: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the model said; `stopped` tells whether it ended by itself."""

    text: str
    tokens: int
    stopped: bool


@dataclass(frozen=True)
class FormatRun:
    """Neighbouring rows of one format: the first and the last of them, and the fields it was recognised by."""

    format: str
    first: str
    last: str
    rows: int
    fields: str


@dataclass(frozen=True)
class MixedIn:
    """Rows of another source in training: how many were wanted, and how many there are."""

    name: str
    wanted: int
    rows: int


@dataclass(frozen=True)
class ProofProblem:
    """One way in which rows do not teach what inference will do: how many rows, and where the first of them stand."""

    problem: str
    rows: int
    examples: list[str]


@dataclass(frozen=True)
class Proof:
    """Whether every row teaches what inference will do. `turns` are the assistants', each with its stop token learned.

    `lowest_share` and `mean_share` are the supervised part of a row's tokens.
    """

    rows: int
    failed: int
    turns: int
    lowest_share: float
    mean_share: float
    problems: list[ProofProblem]


@dataclass(frozen=True)
class Lengths:
    """Lengths of the rows in tokens, before `data.overflow`. `histogram[i]` rows are up to `edges[i]` tokens long.

    `lost_tokens` and `lost_supervised_tokens` stand beyond `max_seq_length`; `padding_share` is the part of a batch
    that is padding; `suggested` is the max_seq_length that the data ask for.
    """

    p50: int
    p95: int
    p99: int
    longest: int
    edges: list[int]
    histogram: list[int]
    max_seq_length: int
    suggested: int
    lost_tokens: int
    lost_supervised_tokens: int
    padding_share: float


class Severity(StrEnum):
    """How bad a finding is."""

    note = "note"
    warning = "warning"
    serious = "serious"


@dataclass(frozen=True)
class Finding:
    """Something that an audit found in the data.

    Attributes:
        name: what is looked for, a word.
        severity: how bad it is.
        rows: how many rows it is about.
        text: what was found, with the number, in one sentence.
        advice: what to do.
        examples: the first few, `orders.jsonl:12: Name the capital…`.
        fatal: whether the run is to end here.
    """

    name: str
    severity: Severity
    rows: int
    text: str
    advice: str
    examples: list[str]
    fatal: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of a row as text, learned or not."""

    text: str
    learned: bool


@dataclass(frozen=True)
class ViewedRow:
    """A row as the model will see it, piece by piece."""

    where: str
    pieces: list[Piece]


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
    overflow_rows_left_out: int
    overflow_supervised_tokens: int
    overflow_validation_rows: int
    fingerprint: str
    format_runs: list[FormatRun]
    mixed: list[MixedIn]
    bad_rows: int
    bad_examples: list[str]
    proof: Proof
    lengths: Lengths
    findings: list[Finding]
    view: list[ViewedRow]
    cached: bool


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
    data: DataResult | None = None
    schema_version: int = 2


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
