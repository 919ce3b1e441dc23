"""How far two models agree at every position of some rows: likeliest token, divergence, perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from framework_plugins.exports.parity.check_rows import CheckRow

Logits = NDArray[np.float32]
SURE = 0.1
"""Up to this standard error the share of the change that an export has is judged: two of them separate 0.8 from 1."""


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
        end_positions: how many were compared at the end of a long row; they are in none of the other numbers.
        end_same: of them, those with the same likeliest token.
        end_divergence: the sum of KL(trained || export) over them in nats.
        end_tokens: length of the long row; 0 if there is none.
        share: of what training changed, the share that the export has, see `survival`; None where it is not measured.
        share_error: its standard error.
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
    end_positions: int = 0
    end_same: int = 0
    end_divergence: float = 0.0
    end_tokens: int = 0
    share: float | None = None
    share_error: float | None = None

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
    def end_top1(self) -> float:
        """Share of the positions at the end of the long row with the same likeliest token."""
        return self.end_same / max(1, self.end_positions)

    @property
    def end_kl(self) -> float:
        """Mean divergence of a position at the end of the long row in nats."""
        return self.end_divergence / max(1, self.end_positions)

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
        share = "" if self.share is None else f"; {self.survived()}"
        end = f"; KL {self.end_kl:.2g} at the end of {self.end_tokens:,} tokens" if self.end_tokens else ""
        return (
            f"top-1 {self.top1:.2%}{near} of {self.positions:,} positions, KL {self.kl:.2g}, perplexity "
            f"x{self.perplexity_ratio:.3f}, greedy answers equal {same} of {len(self.answers)}{share}{end}"
        )

    def survived(self) -> str:
        """Say how much of the change from the base the export has; empty where it was not measured."""
        if self.share is None or self.share_error is None:
            return ""
        doubt = "" if self.share_error <= SURE else f" (±{2 * self.share_error:.0%}, too little to judge)"
        return f"{self.share:.0%} of the change from the base{doubt}"


def agree(
    rows: Sequence[CheckRow], trained: Iterable[Logits], export: Iterable[Logits], stop_ids: frozenset[int], tie: float
) -> Agreement:
    """Compare two models.

    Args:
        rows: what both were given.
        trained: for each row the trained model's logits behind every token: (tokens, vocabulary). Those of a long row
            are of its last tokens.
        export: the export's; it may have more tokens in its vocabulary, which padding does.
        stop_ids: the tokens that end an answer.
        tie: how near two tokens have to be for the trained model, in nats, so that a rounding may swap them.
    """
    return agree_each(rows, [trained], export, stop_ids, [tie])[0]


def agree_each(
    rows: Sequence[CheckRow],
    models: Sequence[Iterable[Logits]],
    export: Iterable[Logits],
    stop_ids: frozenset[int],
    ties: Sequence[float],
    export_stops: frozenset[int] | None = None,
) -> list[Agreement]:
    """Compare an export with several models, each as the reference, with one evaluation of the export.

    Args:
        rows: what all were given.
        models: the references, see `agree`.
        export: the export.
        stop_ids: the tokens that end an answer of the models.
        ties: how near two tokens have to be, for each of the models.
        export_stops: the tokens that end an answer of the export. Default: the same.
    """
    agreements = [Agreement(tie) for tie in ties]
    stops = stop_ids, stop_ids if export_stops is None else export_stops
    seen: set[tuple[int, ...]] = set()
    for row, two, *ones in zip(rows, export, *models, strict=True):
        if row.last:
            for agreement, one in zip(agreements, ones, strict=True):
                _add_end(agreement, row, log_softmax(one), log_softmax(two[:, : one.shape[1]]))
            continue
        starts = [tuple(row.ids[: end + 1]) for end in range(len(row.ids))]
        fresh = np.array([start not in seen for start in starts])
        seen.update(starts)
        for agreement, one in zip(agreements, ones, strict=True):
            _add(agreement, row, log_softmax(one), log_softmax(two[:, : one.shape[1]]), fresh, stops)
    return agreements


def widest_tie(rows: Sequence[CheckRow], trained: Iterable[Logits], rounded: Iterable[Logits]) -> float:
    """Return how far a rounding moves two tokens towards each other, in nats: the most at any position.

    Only positions count where the two likeliest tokens of the trained model are within one nat; a third token that
    becomes the likeliest counts by its distance.

    Args:
        rows: what both were given.
        trained: logits of the trained weights, see `agree`.
        rounded: those of the same weights after the rounding.
    """
    widest = 0.0
    for _, one, two in zip(rows, trained, rounded, strict=True):
        log_p, log_q = log_softmax(one), log_softmax(two)
        places = np.arange(len(log_p))
        second, first = np.argpartition(log_p, -2, axis=-1)[:, -2:].T
        other = np.where(log_q.argmax(-1) == first, second, log_q.argmax(-1))
        before, after = (each[places, first] - each[places, other] for each in (log_p, log_q))
        widest = max(widest, float(np.abs(before - after)[before < 1].max(initial=0)))
    return widest


def _add(
    total: Agreement,
    row: CheckRow,
    log_p: Logits,
    log_q: Logits,
    fresh: NDArray[np.bool_],
    stops: tuple[frozenset[int], frozenset[int]],
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
    trained_stops, export_stops = stops
    if row.stopped and int(top[-1]) in trained_stops:
        total.stops.append(int(other[-1]) in export_stops or (top[-1] != other[-1] and not apart[-1]))
    total.answers.append(_answer(row, top, other, apart))


def _add_end(total: Agreement, row: CheckRow, log_p: Logits, log_q: Logits) -> None:
    total.end_tokens = len(row.ids)
    total.end_positions += len(log_p)
    total.end_same += int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
    total.end_divergence += float((np.exp(log_p) * (log_p - log_q)).sum())


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


def log_softmax(logits: Logits) -> Logits:
    """Return log-probabilities, (tokens, vocabulary)."""
    wide = logits.astype(np.float32)
    wide -= wide.max(-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
    return wide
