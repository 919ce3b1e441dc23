"""The forecast of a run before anything is loaded, saved as `forecast.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = [
    "Disk",
    "ExportNeed",
    "FitStatus",
    "Forecast",
    "Memory",
    "MemoryReduction",
    "Speed",
    "SuggestedChange",
    "Traffic",
    "Work",
]


class FitStatus(Enum):
    """Whether a run fits: with the upper end of its estimate, only with the lower end, or not at all."""

    fits = "fits"
    tight = "tight"
    too_large = "too large"


@dataclass(frozen=True)
class Memory:
    """The memory of a run in bytes; `available` is what tensors can use of `device`.

    `tokens` are those of the largest pass: from the actual rows if `rows_known`, else from trainer.max_seq_length.
    `least` is needed however small the passes are. `attention` is what will be chosen for it on a GPU, and why. Before
    and after the training, `evaluated_on` GPUs share the layers. `longest` are the tokens of the longest row, and
    `answers_at_once` how many answers are made at a time; 0: none.
    """

    device: str
    available: int
    fit_status: FitStatus
    tokens: int
    rows_known: bool
    parts: dict[str, int]
    phases: dict[str, int]
    allocated: int
    reserved: int
    low: int
    high: int
    least: int = 0
    attention: str = ""
    evaluated_on: int = 1
    longest: int = 0
    answers_at_once: int = 0


@dataclass(frozen=True)
class SuggestedChange:
    """A change that reduces the memory of a run: its overrides, the bytes of `reserved` that it saves, and its cost."""

    overrides: list[str]
    saves: int
    costs: str
    fit_status: FitStatus

    @property
    def fits(self) -> bool:
        """Whether the run fits with it, perhaps tightly."""
        return self.fit_status is not FitStatus.too_large


@dataclass(frozen=True)
class Traffic:
    """What each process of a group receives from the others, in bytes.

    `shards` processes hold the weights together, and `replicas` of them the same shard. `in_pass` is received from the
    other shards in each forward and backward pass, `in_step` from the other replicas in each optimizer step.
    """

    shards: int
    replicas: int
    in_pass: int
    in_step: int


@dataclass(frozen=True)
class Work:
    """What a run does: rows, tokens of an epoch, steps, and seconds of training, None if the speed is not known.

    The seconds are those of earlier runs on this machine, or `from_published` speeds of others. `evaluation_seconds` is
    what all answers take at most, with those that a method draws if `from_published`. `rates` are the learning rates of
    some steps, from the first to the last. If `estimated`, rows and tokens are estimated from the first rows.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    steps: int
    epochs: float
    flops: float
    seconds_low: float | None
    seconds_high: float | None
    from_published: bool = False
    evaluation_seconds: float | None = None
    price_per_hour: float | None = None
    rates: list[float] = field(default_factory=list)
    estimated: bool = False


@dataclass(frozen=True)
class Speed:
    """Tokens that a training takes in a second, from `low` to `high`, before its rows are known.

    They are those of earlier runs on this machine, or `from_published` speeds of others, for rows of `row_tokens`
    tokens, which are `estimated` from the first rows, or else the longest that may come.
    """

    low: float
    high: float
    row_tokens: int
    estimated: bool
    from_published: bool


@dataclass(frozen=True)
class Disk:
    """The bytes that a run writes into its folder, and the bytes that are free there."""

    needed: int
    free: int
    parts: dict[str, int]


@dataclass(frozen=True)
class ExportNeed:
    """What an exporter needs, in bytes.

    Attributes:
        name: of the exporter in the plan.
        disk: what it leaves.
        scratch: what it also writes, and removes again.
        memory: of this machine, not of a GPU, while it runs; the trained model is still loaded.
    """

    name: str
    disk: int
    scratch: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to need: memory, compute and disk, and the changes that would make it fit.

    `why` says why there is no `memory`; `advice` are sentences with their reasons; `smaller` is another model that fits
    if no change of the run does; `export_memory` is how much of this machine's memory merging and comparing need, in
    bytes; `traffic` is None for a training in one process. `speed` is None if the rows or no speed are known.
    `apply_later`: `plan.apply=true` is set, and applies the `changes` only in a run that knows the rows before.
    """

    memory: Memory | None
    why: str
    changes: list[SuggestedChange]
    applied: list[str]
    work: Work | None
    disk: Disk | None
    advice: list[str] = field(default_factory=list)
    smaller: SuggestedChange | None = None
    export_memory: int = 0
    traffic: Traffic | None = None
    speed: Speed | None = None
    apply_later: bool = False


@dataclass(frozen=True)
class MemoryReduction:
    """What makes a run need less memory.

    Attributes:
        settings: what to change, `{"trainer.max_seq_length": 1024}`.
        costs: what that costs, in a few words.
        price: the kind of cost: 0 nothing, 1 time, 2 what is learned. Cheaper ones are tried first.
    """

    settings: Mapping[str, Any]
    costs: str
    price: int = 1
