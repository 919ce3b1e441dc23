"""`parity.json` in the run folder: what each comparison of an export with the trained model found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.api import write_atomically
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.agreement import Agreement, AnswerMatch

PARITY_FILE = "parity.json"


@dataclass(frozen=True)
class ComparisonRecord:
    """One comparison.

    Attributes:
        name: of the folder or the file.
        against: the other side of the comparison: the trained weights, or the merged ones.
        format: the number format of its weights, or its quantization.
        problem: why it did not pass; empty if it did.
        positions: how many were compared.
        top1: share of them with the same likeliest token.
        near_ties: of the others, those at which the trained model holds both tokens within `tie_nats`.
        tie_nats: see `near_ties`.
        top1_with_ties: the share with those counted as the same.
        kl: mean KL(trained || export) of a position, in nats.
        perplexity_ratio: perplexity of the trained model's answers in the export, by that in the trained model.
        answers: of the greedy answers how many are the same text, part at a near tie, or differ.
        end_tokens: length of the long row; 0 if there is none. The other numbers are about the short rows.
        end_positions: how many at its end were compared.
        end_top1: share of them with the same likeliest token.
        end_kl: mean divergence of them, in nats.
        not_finite: positions with a logit that is NaN or infinite; the other numbers are about the rest.
        share: the share of the training's change that a quantized file has; None if it was not measured.
        share_error: its standard error.
        rounding: how much the quantization changes, as a multiple of what training changed; None if not measured.
        source_share: the share of the change that the weights have which were quantized; None if not measured.
        decisions: questions with options, of rows that have them.
        decisions_equal: of them, those with the same decision of both.
        decision_difference: the largest difference of an option's probability; None without questions.
        bounds: the settings of the comparison.
    """

    name: str
    against: str
    format: str
    problem: str
    positions: int
    top1: float
    near_ties: int
    tie_nats: float
    top1_with_ties: float
    kl: float
    perplexity_ratio: float
    answers: dict[str, int]
    end_tokens: int
    end_positions: int
    end_top1: float
    end_kl: float
    not_finite: int
    share: float | None
    share_error: float | None
    rounding: float | None
    source_share: float | None
    decisions: int
    decisions_equal: int
    decision_difference: float | None
    bounds: dict[str, Any]

    @classmethod
    def of(
        cls, name: str, against: str, form: str, agreement: Agreement, problem: str, bounds: ParityConfig
    ) -> ComparisonRecord:
        """Make a record of an agreement."""
        counts = Counter(answer.value for answer in agreement.answers)
        return cls(
            name=name,
            against=against,
            format=form,
            problem=problem,
            positions=agreement.positions,
            top1=agreement.top1,
            near_ties=agreement.ties,
            tie_nats=agreement.tie,
            top1_with_ties=agreement.top1_beyond_ties,
            kl=agreement.kl,
            perplexity_ratio=agreement.perplexity_ratio,
            answers={match.value: counts[match.value] for match in AnswerMatch},
            end_tokens=agreement.end_tokens,
            end_positions=agreement.end_positions,
            end_top1=agreement.end_top1,
            end_kl=agreement.end_kl,
            not_finite=agreement.not_finite,
            share=agreement.share,
            share_error=agreement.share_error,
            rounding=agreement.rounding,
            source_share=agreement.source_share,
            decisions=len(agreement.options),
            decisions_equal=agreement.decided_alike,
            decision_difference=agreement.decision_difference,
            bounds=asdict(bounds),
        )


@dataclass(frozen=True)
class ConversationsRecord:
    """The comparison of conversations that llama.cpp or transformers renders with those of the training.

    Attributes:
        name: of the file, or the folder.
        problem: in what one without tools differs from what the training made of it; of a folder also in what its
            stop tokens and settings differ. Empty if none does.
        tools: the same of one with tools, which does not reject the file.
        conversations: how many were compared.
        not_checked: why none was; empty if some were.
        against: the other side of the comparison.
    """

    name: str
    problem: str
    tools: str
    conversations: int
    not_checked: str
    against: str = "chat_template"


def add_record(record: ComparisonRecord | ConversationsRecord, run_dir: Path) -> None:
    """Put a record into the file; it replaces an earlier one of the same comparison."""
    file = run_dir / PARITY_FILE
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    key = {"name": record.name, "against": record.against}
    remaining = (entry for entry in earlier if not key.items() <= entry.items())
    records = [*remaining, asdict(record)]
    write_atomically(file, json.dumps(records, indent=1) + "\n")
