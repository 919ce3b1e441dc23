"""How far two models agree at every position of some rows, and whether that is enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.check_rows import CheckRow

Logits = NDArray[np.float32]
MAX_EXPONENT = 700.0
"""Of a perplexity, which JSON cannot hold if it is infinite."""
MAX_SHARE_ERROR = 0.1
"""Up to this standard error the share of the change that an export has is judged: two of them separate 0.8 from 1."""
MAX_ROUNDING = 1.0
"""Up to this multiple of what training changed a quantization may change answers for its share to be judged."""


class AnswerMatch(Enum):
    """The comparison of a greedy answer: the same text, different from a near tie on, or different."""

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
        stops: the count of rows that the trained model ended, and of those that the export ends there too.
        answers: the comparison of each greedy answer of the trained model.
        end_positions: how many were compared at the end of a long row; they are in none of the other numbers.
        end_same: of them, those with the same likeliest token.
        end_divergence: the sum of KL(trained || export) over them in nats.
        end_tokens: length of the long row; 0 if there is none.
        not_finite: positions at which a logit is NaN or infinite; they are in none of the other sums.
        share: the share of the training's change that the export has (`change_retained`); None if not measured.
        share_error: its standard error.
        rounding: how much the quantization changes, as a multiple of what training changed (`rounding_size`); None if
            not measured.
        source_share: the share of the change that the weights have which were quantized.
        source_share_error: its standard error.
        options: the log-probabilities of the options of each question, by the trained model and by the export.
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
    answers: list[AnswerMatch] = field(default_factory=list)
    end_positions: int = 0
    end_same: int = 0
    end_divergence: float = 0.0
    end_tokens: int = 0
    not_finite: int = 0
    share: float | None = None
    share_error: float | None = None
    rounding: float | None = None
    source_share: float | None = None
    source_share_error: float | None = None
    options: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def decided_alike(self) -> int:
        """How many questions the export decides as the trained model does."""
        return sum(len({*np.argmax(pairs, axis=0).tolist()}) == 1 for pairs in self.options.values())

    @property
    def decision_difference(self) -> float | None:
        """The largest difference of an option's probability among the options; None without questions."""
        shares = (np.exp(log_softmax(np.array(pairs).T)) for pairs in self.options.values())
        return max((float(np.abs(trained - export).max()) for trained, export in shares), default=None)

    @property
    def is_rounding_larger(self) -> bool:
        """Whether quantizing changes answers more than training did, so that the share of the file tells nothing."""
        return (self.rounding or 0) > MAX_ROUNDING and self.source_share is not None

    @property
    def top1(self) -> float:
        """Share of positions with the same likeliest token, near ties not excused."""
        return self.same / max(1, self.positions)

    @property
    def top1_beyond_ties(self) -> float:
        """Share of positions with the same likeliest token, near ties excused."""
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
        return math.exp(min(MAX_EXPONENT, (self.export_loss - self.trained_loss) / max(1, self.predicted)))

    @property
    def stops_kept(self) -> bool:
        """Whether the export ends every answer where the trained model does."""
        return all(self.stops)

    def text(self) -> str:
        """Return the result in a few words."""
        near = f" ({self.top1_beyond_ties:.2%} with ties below {self.tie:g} nats)" if self.ties else ""
        equal = sum(answer is AnswerMatch.same for answer in self.answers)
        share = "" if self.share is None else f"; {self.change_retained_text()}"
        end = f"; KL {self.end_kl:.2g} at the end of {self.end_tokens:,} tokens" if self.end_tokens else ""
        return (
            f"top-1 {self.top1:.2%}{near} of {self.positions:,} positions, KL {self.kl:.2g}, perplexity "
            f"x{self.perplexity_ratio:.3f}, greedy answers equal {equal} of {len(self.answers)}{share}{end}"
            f"{self._decisions_text()}"
        )

    def _decisions_text(self) -> str:
        if self.decision_difference is None:
            return ""
        return (
            f"; decisions equal {self.decided_alike} of {len(self.options)}, probabilities within "
            f"{self.decision_difference:.2g}"
        )

    def change_retained_text(self) -> str:
        """Return the share of the training's change that the export has, as text; empty if it was not measured."""
        if self.share is None or self.share_error is None:
            return ""
        if self.is_rounding_larger:
            part = f"{1 / (self.rounding or 1):.0%}"
            return (
                f"training changed the answers less than this quantization does ({part} of it), "
                "so the share that the file has of the change cannot be measured; its weights before the quantization "
                f"have {self.source_share:.0%}"
            )
        doubt = "" if self.share_error <= MAX_SHARE_ERROR else f" (±{2 * self.share_error:.0%}, too little to judge)"
        return f"{self.share:.0%} of the change from the base{doubt}"


def compare_logits(
    rows: Sequence[CheckRow], trained: Iterable[Logits], export: Iterable[Logits], stop_ids: frozenset[int], tie: float
) -> Agreement:
    """Compare two models.

    Args:
        rows: what both were given.
        trained: for each row the trained model's logits behind every token: (tokens, vocabulary). Those of a long row
            are of its last tokens.
        export: the export's. Its vocabulary may be wider, or end before tokens that the tokenizer lacks.
        stop_ids: the tokens that end an answer.
        tie: how near two tokens have to be for the trained model, in nats, so that a rounding may swap them.
    """
    return compare_with_each(rows, [trained], export, stop_ids, [tie])[0]


def compare_with_each(
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
        models: the references, see `compare_logits`.
        export: the export.
        stop_ids: the tokens that end an answer of the models.
        ties: how near two tokens have to be, for each of the models.
        export_stops: the tokens that end an answer of the export. Default: the same.
    """
    agreements = [Agreement(tie) for tie in ties]
    stops = stop_ids, stop_ids if export_stops is None else export_stops
    seen_prefixes: set[tuple[int, ...]] = set()
    for row, exported, *references in zip(rows, export, *models, strict=True):
        prefixes = [tuple(row.ids[: end + 1]) for end in range(0 if row.last else len(row.ids))]
        is_new = np.array([prefix not in seen_prefixes for prefix in prefixes])
        seen_prefixes.update(prefixes)
        for agreement, reference in zip(agreements, references, strict=True):
            finite = np.isfinite(reference).all(-1) & np.isfinite(exported).all(-1)
            log_p, log_q = (log_softmax(np.where(finite[:, None], logits, 0)) for logits in (reference, exported))
            if row.question:
                _add_option(agreement, row, log_p, log_q, finite)
            elif row.last:
                _add_end(agreement, row, log_p, log_q, finite)
            else:
                _add_row(agreement, row, log_p, log_q, is_new, finite, stops)
    return agreements


def widest_tie(rows: Sequence[CheckRow], trained: Iterable[Logits], rounded: Iterable[Logits]) -> float:
    """Return by how many nats a rounding moves two tokens towards each other, at most at any position.

    Only positions count where the two likeliest tokens of the trained model are within one nat; a third token that
    becomes the likeliest counts by its distance.

    Args:
        rows: what both were given.
        trained: logits of the trained weights, see `compare_logits`.
        rounded: the logits of the same weights after the rounding.
    """
    widest = 0.0
    for _, exact, coarse in zip(rows, trained, rounded, strict=True):
        log_p, log_q = log_softmax(exact), log_softmax(coarse)
        places = np.arange(len(log_p))
        runner_up, top = np.argpartition(log_p, -2, axis=-1)[:, -2:].T
        rival = np.where(log_q.argmax(-1) == top, runner_up, log_q.argmax(-1))
        before, after = (logits[places, top] - logits[places, rival] for logits in (log_p, log_q))
        widest = max(widest, float(np.abs(before - after)[before < 1].max(initial=0)))
    return widest


def _add_row(
    total: Agreement,
    row: CheckRow,
    log_p: Logits,
    log_q: Logits,
    is_new: NDArray[np.bool_],
    finite: NDArray[np.bool_],
    stops: tuple[frozenset[int], frozenset[int]],
) -> None:
    trained_top, export_top = log_p.argmax(-1), log_q.argmax(-1)
    places = np.arange(len(trained_top))
    # A token past the trained model's vocabulary is padding: the likeliest one is never within a tie.
    in_vocabulary = export_top < log_p.shape[1]
    gap = log_p[places, trained_top] - log_p[places, np.where(in_vocabulary, export_top, 0)]
    beyond_tie = ~in_vocabulary | (gap > total.tie)
    total.not_finite += int((is_new & ~finite).sum())
    is_new = is_new & finite
    total.positions += int(is_new.sum())
    total.same += int(((trained_top == export_top) & is_new).sum())
    total.ties += int(((trained_top != export_top) & ~beyond_tie & is_new).sum())
    total.divergence += float(_divergence(log_p, log_q)[is_new].sum())
    before = places[len(row.prompt) - 1 : -1]
    answer = np.array(row.answer, dtype=np.int64)
    total.trained_loss -= float(log_p[before, answer].sum())
    total.export_loss -= float(log_q[before, answer].sum())
    total.predicted += len(answer)
    trained_stops, export_stops = stops
    if row.stopped and int(trained_top[-1]) in trained_stops:
        total.stops.append(
            int(export_top[-1]) in export_stops or (trained_top[-1] != export_top[-1] and not beyond_tie[-1])
        )
    total.answers.append(_match_answer(row, trained_top, export_top, beyond_tie))


def _add_end(total: Agreement, row: CheckRow, log_p: Logits, log_q: Logits, finite: NDArray[np.bool_]) -> None:
    total.end_tokens = len(row.ids)
    total.not_finite += int((~finite).sum())
    total.end_positions += int(finite.sum())
    total.end_same += int((log_p.argmax(-1) == log_q.argmax(-1))[finite].sum())
    total.end_divergence += float(_divergence(log_p, log_q)[finite].sum())


def _add_option(total: Agreement, row: CheckRow, log_p: Logits, log_q: Logits, finite: NDArray[np.bool_]) -> None:
    total.not_finite += int((~finite).sum())
    places = np.arange(len(row.answer))
    trained, export = (float(logits[places, row.answer].sum()) for logits in (log_p, log_q))
    total.options.setdefault(row.question, []).append((trained, export))


def _divergence(log_p: Logits, log_q: Logits) -> Logits:
    """Return KL(p || q) of each position; tokens that only one vocabulary has count by what they take from the rest."""
    width = log_q.shape[1]
    if log_p.shape[1] > width:
        log_p = log_softmax(log_p[:, :width])
    divergence: Logits = (np.exp(log_p) * (log_p - log_q[:, : log_p.shape[1]])).sum(-1)
    return divergence


def _match_answer(
    row: CheckRow, trained_top: NDArray[np.intp], export_top: NDArray[np.intp], beyond_tie: NDArray[np.bool_]
) -> AnswerMatch:
    """Follow both models through the answer, as long as both agree.

    The answer comes from the model in memory, which may compute in four bits: where the trained weights themselves
    leave it, nothing further is compared.
    """
    start = len(row.prompt) - 1
    for position, token in enumerate([*row.answer, None], start=start):
        if trained_top[position] != export_top[position]:
            return AnswerMatch.differs if beyond_tie[position] else AnswerMatch.near
        if trained_top[position] != token:
            break
    return AnswerMatch.same


def log_softmax(logits: Logits) -> Logits:
    """Return log-probabilities, (tokens, vocabulary)."""
    wide = logits.astype(np.float32)
    wide -= wide.max(-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
    return wide


ROUNDING_ALLOWANCE = 2
"""How many times the divergence that a rounding to bf16 costs an export in bf16 may have."""


def exact_problem(agreement: Agreement, bounds: ParityConfig, rounding: Agreement | None = None) -> str:
    """Return why an export without quantization differs from the trained model; empty if it does not.

    Args:
        agreement: the result of the comparison.
        bounds: the settings.
        rounding: the differences that rounding the weights to bf16 explains; None if they are not rounded to it.
    """
    if problem := _not_finite(agreement):
        return problem
    differ = agreement.answers.count(AnswerMatch.differs)
    if not agreement.stops_kept:
        return "an answer continues where the trained model ends it"
    if differ:
        return f"greedy answers differ for {differ} of {len(agreement.answers)} prompts"
    if agreement.top1 < bounds.exact_raw_top1:
        return f"top-1 is {agreement.top1:.2%}, and parity.exact_raw_top1={bounds.exact_raw_top1:g}"
    if agreement.top1_beyond_ties < bounds.exact_top1:
        return f"top-1 with ties is {agreement.top1_beyond_ties:.2%}, and parity.exact_top1={bounds.exact_top1:g}"
    kl, end_kl = (rounding.kl, rounding.end_kl) if rounding else (0.0, 0.0)
    if agreement.kl > bounds.exact_kl + ROUNDING_ALLOWANCE * kl:
        return f"KL is {agreement.kl:.2g}, and parity.exact_kl={bounds.exact_kl:g}{_bf16_text(kl)}"
    if agreement.end_kl > bounds.exact_end_kl + ROUNDING_ALLOWANCE * end_kl:
        return (
            f"KL is {agreement.end_kl:.2g} at the end of {agreement.end_tokens:,} tokens, and parity.exact_end_kl="
            f"{bounds.exact_end_kl:g}{_bf16_text(end_kl)}: its positions (rope, sliding window) are not those of the "
            "training"
        )
    return ""


def _bf16_text(rounding: float) -> str:
    return f", with {rounding:.2g} that rounding to bf16 explains" if rounding else ""


def _not_finite(agreement: Agreement) -> str:
    """Return the problem of logits that are NaN, which no comparison with a bound notices."""
    every = agreement.positions + agreement.end_positions + agreement.not_finite
    return f"its logits are not finite at {agreement.not_finite:,} of {every:,} positions" * bool(agreement.not_finite)


def quantized_problem(agreement: Agreement, bounds: ParityConfig) -> str:
    """Return the bound that a quantized file exceeds; empty if it keeps all."""
    if problem := _not_finite(agreement):
        return problem
    for value, limit, setting, low in (
        (agreement.top1, bounds.quantized_top1, "quantized_top1", True),
        (agreement.kl, bounds.quantized_kl, "quantized_kl", False),
        (agreement.perplexity_ratio, bounds.quantized_perplexity, "quantized_perplexity", False),
    ):
        if (value < limit) if low else (value > limit):
            return f"{setting[10:]} is {value:.3g}, and parity.{setting}={limit:g}"
    if agreement.end_kl > bounds.quantized_kl:
        where = f"at the end of {agreement.end_tokens:,} tokens"
        return f"kl is {agreement.end_kl:.3g} {where}, and parity.quantized_kl={bounds.quantized_kl:g}"
    share, error, lowest = agreement.share, agreement.share_error, bounds.quantized_share
    if agreement.is_rounding_larger:  # noise that is larger than the change makes any share; the weights have none
        share, error = agreement.source_share, agreement.source_share_error
    # More than the whole change is as wrong as less of it: a temperature, or an adapter that is merged twice.
    if share is None or error is None or error > MAX_SHARE_ERROR or lowest == 0 or lowest <= share <= 1 / lowest:
        return ""
    description = f"it has {agreement.change_retained_text()}"
    if agreement.is_rounding_larger:
        description = f"the weights that it is made from have {share:.0%} of the change from the base"
    return f"{description}, and parity.quantized_share={lowest:g} allows {lowest:.0%} to {1 / lowest:.0%}"
