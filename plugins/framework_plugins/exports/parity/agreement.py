"""How far two models agree at every position of some rows: likeliest token, divergence, perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from framework_plugins.exports.parity.rows import CheckRow

Logits = NDArray[np.float32]


class Answer(Enum):
    """What becomes of a greedy answer: the same text, another one from a near tie on, or another one."""

    same = "same"
    near = "near"
    differs = "differs"


@dataclass
class Agreement:
    """The result of a comparison.

    Attributes:
        tie: how near two tokens have to be for the trained model, in nats, so that a rounding may swap them.
        positions: how many were compared; the common beginning of several rows counts once.
        same: of them, those with the same likeliest token.
        ties: of the others, those where the trained model has both tokens within `tie` of each other.
        divergence: the sum of KL(trained || export) in nats.
        trained_loss: the sum of the trained model's losses at its own answers, in nats.
        export_loss: that of the export.
        predicted: how many tokens these are sums over.
        stops: rows that the trained model ended, and of them those that the export would end there too.
        answers: what became of each greedy answer of the trained model.
    """

    tie: float
    positions: int = 0
    same: int = 0
    ties: int = 0
    divergence: float = 0.0
    trained_loss: float = 0.0
    export_loss: float = 0.0
    predicted: int = 0
    stops: list[bool] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def top1(self) -> float:
        """Share of positions with the same likeliest token, near ties not excused."""
        return self.same / max(1, self.positions)

    @property
    def top1_beyond_ties(self) -> float:
        """The same, where a tie counts as the same."""
        return (self.same + self.ties) / max(1, self.positions)

    @property
    def kl(self) -> float:
        """Mean divergence of a position in nats."""
        return self.divergence / max(1, self.positions)

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the export by that of the trained model, over the trained model's answers."""
        return math.exp((self.export_loss - self.trained_loss) / max(1, self.predicted))

    @property
    def stops_kept(self) -> bool:
        """Whether every answer that the trained model ends would end there too."""
        return all(self.stops)

    def text(self) -> str:
        """Say it in a few words."""
        near = f" ({self.top1_beyond_ties:.2%} with ties below {self.tie:g} nats)" if self.ties else ""
        same = sum(answer is Answer.same for answer in self.answers)
        return (
            f"top-1 {self.top1:.2%}{near} of {self.positions:,} positions, KL {self.kl:.2g}, perplexity "
            f"x{self.perplexity_ratio:.3f}, greedy answers equal {same} of {len(self.answers)}"
        )


def agree(
    rows: Sequence[CheckRow], trained: Iterable[Logits], export: Iterable[Logits], stop_ids: frozenset[int], tie: float
) -> Agreement:
    """Compare two models.

    Args:
        rows: what both were given.
        trained: for each row the trained model's logits behind every token: (tokens, vocabulary).
        export: the export's; it may have more tokens in its vocabulary, which padding does.
        stop_ids: the tokens that end an answer.
        tie: how near two tokens have to be for the trained model, in nats, so that a rounding may swap them.
    """
    return agree_each(rows, [trained], export, stop_ids, tie)[0]


def agree_each(
    rows: Sequence[CheckRow],
    models: Sequence[Iterable[Logits]],
    export: Iterable[Logits],
    stop_ids: frozenset[int],
    tie: float,
) -> list[Agreement]:
    """Compare an export with several models, each as the reference, with one evaluation of the export."""
    agreements = [Agreement(tie) for _ in models]
    seen: set[tuple[int, ...]] = set()
    for row, two, *ones in zip(rows, export, *models, strict=True):
        starts = [tuple(row.ids[: end + 1]) for end in range(len(row.ids))]
        fresh = np.array([start not in seen for start in starts])
        seen.update(starts)
        for agreement, one in zip(agreements, ones, strict=True):
            _add(agreement, row, _log_softmax(one), _log_softmax(two[:, : one.shape[1]]), fresh, stop_ids)
    return agreements


def _add(
    total: Agreement, row: CheckRow, log_p: Logits, log_q: Logits, fresh: NDArray[np.bool_], stop_ids: frozenset[int]
) -> None:
    top, other = log_p.argmax(-1), log_q.argmax(-1)
    places = np.arange(len(top))
    gap = log_p[places, top] - log_p[places, other]
    apart = gap > total.tie
    total.positions += int(fresh.sum())
    total.same += int(((top == other) & fresh).sum())
    total.ties += int(((top != other) & ~apart & fresh).sum())
    total.divergence += float((np.exp(log_p) * (log_p - log_q)).sum(-1)[fresh].sum())
    before = places[len(row.prompt) - 1 : -1]
    answer = np.array(row.answer, dtype=np.int64)
    total.trained_loss -= float(log_p[before, answer].sum())
    total.export_loss -= float(log_q[before, answer].sum())
    total.predicted += len(answer)
    if row.stopped and int(top[-1]) in stop_ids:
        total.stops.append(int(other[-1]) in stop_ids or not apart[-1])
    total.answers.append(_answer(row, top, other, apart))


def _answer(row: CheckRow, top: NDArray[np.intp], other: NDArray[np.intp], apart: NDArray[np.bool_]) -> Answer:
    """Follow both models through the answer, as far as both say it.

    The answer comes from the model in memory, which may compute in four bits: where the trained weights themselves
    leave it, nothing further is compared.
    """
    first = len(row.prompt) - 1
    for place, token in enumerate([*row.answer, None], start=first):
        if top[place] != other[place]:
            return Answer.differs if apart[place] else Answer.near
        if top[place] != token:
            break
    return Answer.same


def _log_softmax(logits: Logits) -> Logits:
    wide = logits.astype(np.float32)
    wide -= wide.max(-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
    return wide
