"""`parity.json` in the run folder: what each comparison of an export with the trained model found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framework.api import write_atomically
from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.agreement import Agreement, AnswerMatch

PARITY_FILE = "parity.json"
SAME_NAMES = (
    "positions", "top1", "kl", "perplexity_ratio", "end_tokens", "end_positions", "end_top1", "end_kl", "not_finite",
    "share", "share_error", "rounding", "source_share", "decision_difference",
)  # fmt: skip
"""What an entry has of an agreement under its own name."""


def comparison(
    name: str, against: str, form: str, agreement: Agreement, problem: str, bounds: ParityConfig
) -> dict[str, Any]:
    """Return the entry of one comparison.

    Args:
        name: of the folder or the file.
        against: the other side of the comparison: the trained weights, or the merged ones.
        form: the number format of its weights, or its quantization.
        agreement: what was found.
        problem: why it did not pass; empty if it did.
        bounds: the settings of the comparison.
    """
    counts = Counter(answer.value for answer in agreement.answers)
    return {
        "name": name,
        "against": against,
        "format": form,
        "problem": problem,
        "near_ties": agreement.ties,
        "tie_nats": agreement.tie,
        "top1_with_ties": agreement.top1_beyond_ties,
        "decisions": len(agreement.options),
        "decisions_equal": agreement.decided_alike,
        "answers": {match.value: counts[match.value] for match in AnswerMatch},
        **{field: getattr(agreement, field) for field in SAME_NAMES},
        "bounds": asdict(bounds),
    }


def conversations(
    name: str, problem: str, tools: str = "", count: int = 0, not_checked: str = "", against: str = "chat_template"
) -> dict[str, Any]:
    """Return the entry of conversations that llama.cpp or transformers renders, compared with those of the training.

    Args:
        name: of the file, or the folder.
        problem: in what one without tools differs from what the training made of it; of a folder also in what its
            stop tokens and settings differ. Empty if none does.
        tools: the same of one with tools, which does not reject the file.
        count: how many were compared.
        not_checked: why none was; empty if some were.
        against: the other side of the comparison.
    """
    return {
        "name": name,
        "problem": problem,
        "tools": tools,
        "conversations": count,
        "not_checked": not_checked,
        "against": against,
    }


def add_record(record: Mapping[str, Any], run_dir: Path) -> None:
    """Put an entry into the file; it replaces an earlier one of the same comparison."""
    file = run_dir / PARITY_FILE
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    key = {"name": record["name"], "against": record["against"]}
    remaining = (entry for entry in earlier if not key.items() <= entry.items())
    records = [*remaining, record]
    write_atomically(file, json.dumps(records, indent=1) + "\n")
