"""What the data stage found, as `data.json`; docs/reference/report.md explains each field."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from framework.api.records.saving import FORMER_NAME

__all__ = [
    "DataResult",
    "Finding",
    "FormatRun",
    "Lengths",
    "MixedIn",
    "Piece",
    "Proof",
    "ProofProblem",
    "RowCounts",
    "Severity",
    "ViewedRow",
]


@dataclass(frozen=True)
class FormatRun:
    """Consecutive rows of one format: the first and the last of them, and the fields by which it was recognized."""

    format: str
    first: str
    last: str
    rows: int
    fields: str


@dataclass(frozen=True)
class MixedIn:
    """Rows of another source in training: how many were requested, and how many there are."""

    name: str
    requested: int
    rows: int


@dataclass(frozen=True)
class ProofProblem:
    """One way in which rows do not teach what inference will do: how many rows, and the places of the first of them."""

    problem: str
    rows: int
    examples: list[str]


@dataclass(frozen=True)
class Proof:
    """Whether every row teaches what inference will do. `turns` counts assistant turns; each has a learned stop token.

    `lowest_share` and `mean_share` are the supervised part of a row's tokens, for conversations if there are any.
    `plain` counts the rows of plain text, which has no turns, `prompts` those that have no answer. `whole` says that
    all turns of a conversation are learned, and the proof is of its last answer.
    """

    rows: int
    failed: int
    turns: int
    lowest_share: float
    mean_share: float
    problems: list[ProofProblem]
    plain: int = 0
    whole: bool = False
    prompts: int = 0


@dataclass(frozen=True)
class Lengths:
    """Lengths of the rows in tokens, before `data.overflow`. `histogram[i]` rows are up to `edges[i]` tokens long.

    `beyond` rows are longer than the last edge: a few that are far longer than the others. `lost_tokens` and
    `lost_supervised_tokens` are beyond `max_seq_length`; `padding_share` is the part of a batch that is padding;
    `suggested` is the max_seq_length that suits the data.
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
    beyond: int = 0


class Severity(StrEnum):
    """How bad a finding is."""

    note = "note"
    warning = "warning"
    serious = "serious"


@dataclass(frozen=True)
class Finding:
    """Something that an audit found in the data.

    Attributes:
        name: of the check, a word.
        severity: how bad it is.
        rows: how many rows it is about.
        text: what was found, with the number, in one sentence.
        advice: what to do.
        examples: the first few, `orders.jsonl:12: Name the capital…`.
        fatal: whether the run has to end here.
        where: for a leak, the places of all rows that a verdict has to leave out.
    """

    name: str
    severity: Severity
    rows: int
    text: str
    advice: str
    examples: list[str]
    fatal: bool = False
    where: list[str] = field(default_factory=list)


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


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """What reading the rows counts, and the data stage reports.

    Attributes:
        formats: how many good rows each format has.
        format_runs: the first stretches of rows of one format.
        mixed: how many rows each source gives that is mixed in.
        bad_rows: how many rows could not be read.
        bad_examples: the first of them, with what is wrong.
        unread_fields: how many rows have a value in a field, or in a field of a turn, that has no effect.
        rejected_answers: how many preference pairs have a rejected answer that is left out.
        cut_texts: how many plain texts `data.cut` cut.
        cut_rows: how many rows they became.
        conversations: how many conversations with several answers `data.learn=each` split.
        conversation_rows: how many rows they became.
    """

    formats: dict[str, int] = field(default_factory=dict)
    format_runs: list[FormatRun] = field(default_factory=list, metadata={FORMER_NAME: "runs"})
    mixed: list[MixedIn] = field(default_factory=list)
    bad_rows: int = 0
    bad_examples: list[str] = field(default_factory=list)
    unread_fields: dict[str, int] = field(default_factory=dict, metadata={FORMER_NAME: "unread"})
    rejected_answers: int = field(default=0, metadata={FORMER_NAME: "rejected"})
    cut_texts: int = 0
    cut_rows: int = 0
    conversations: int = 0
    conversation_rows: int = 0


@dataclass(frozen=True)
class DataResult(RowCounts):
    """The data stage. Lengths and counts are in tokens unless the name says rows.

    `system_prompt` is the one that most training rows have; empty if no prompt has most of them. `judged_apart` says
    that no prompt is a validation row: a training may choose its weights by those. `block_rows` texts fill the
    `train_rows` blocks of `block_tokens` tokens of a method that learns texts, else both are 0. `notes` are what the
    source says about its rows. `decides` is the metric that decides about the gain, and `decides_why` says why, by the
    references of the prompts; empty if there are no references.
    """

    train_rows: int
    validation_rows: int
    prompts: int
    tokens: int
    supervised_tokens: int
    longest: int
    overflow_rows: int
    overflow_rows_left_out: int
    overflow_supervised_tokens: int
    overflow_validation_rows: int
    fingerprint: str
    proof: Proof
    lengths: Lengths
    findings: list[Finding]
    view: list[ViewedRow]
    cached: bool
    system_prompt: str = ""
    judged_apart: bool = True
    block_tokens: int = 0
    block_rows: int = 0
    notes: list[str] = field(default_factory=list)
    decides: str = ""
    decides_why: str = ""
