"""The tables of decisions in the report: labels, confusions with examples, and how far probabilities are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from framework.api import Prompt, Table, count, least_share
from framework_plugins.decide import calibration
from framework_plugins.decide.linear import text_of
from framework_plugins.decide.scoring import Array
from framework_plugins.lib.sentences import shared_start

SHOWN_LABELS, SHOWN_PAIRS = 50, 12
EXAMPLE = 160
"""Characters of an example."""
CONFIDENCE = 0.95


def label_table(right: Sequence[str], decided: Sequence[str]) -> Table:
    """Return how often each label is right, and how often a decision for it is."""
    rows, chosen = Counter(right), Counter(decided)
    hits = Counter(label for label, decision in zip(right, decided, strict=True) if label == decision)
    return Table(
        "Labels",
        ["label", "rows", "decided right", "decisions for it", "of them right"],
        [
            [label, f"{rows[label]:,}", _share(hits[label], rows[label]), f"{chosen[label]:,}",
             _share(hits[label], chosen[label])]
            for label, _ in (rows + chosen).most_common(SHOWN_LABELS)
        ],
    )  # fmt: skip


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def confusion_table(prompts: Sequence[Prompt], decided: Sequence[str], sure: Array) -> Table:
    """Return the pairs of a label and another decision, the most frequent first, with the surest example."""
    texts = [text_of(prompt) for prompt in prompts]
    start = shared_start(texts)
    end = shared_start([text[start:][::-1] for text in texts])
    pairs = [(prompt.reference or "", decision) for prompt, decision in zip(prompts, decided, strict=True)]
    rows: list[list[str | float | None]] = []
    for pair, times in Counter(pair for pair in pairs if pair[0] != pair[1]).most_common(SHOWN_PAIRS):
        example = max((index for index, other in enumerate(pairs) if other == pair), key=lambda index: sure[index])
        text = texts[example][start : len(texts[example]) - end].strip()
        rows.append([*pair, f"{times:,}", text[:EXAMPLE] + "…" * (len(text) > EXAMPLE), float(sure[example])])
    return Table("Confusions", ["label", "decided", "rows", "the surest of them", "its probability"], rows)


def reliability_table(sure: Array, correct: Array, error: float, chance: float) -> Table:
    """Return how often the decisions of ten probabilities are right."""
    rows: list[list[str | float | None]] = []
    for places in calibration.bins(sure):
        hits, total = int(correct[places].sum()), len(places)
        low, high = least_share(hits, total, CONFIDENCE), 1 - least_share(total - hits, total, CONFIDENCE)
        rows.append([float(sure[places].mean()), hits / total, low, high, f"{total:,}"])
    return Table(
        "Reliability",
        ["probability", "decided right", "at least", "at most", "rows"],
        rows,
        f"Expected calibration error {error:.3f}; a perfectly calibrated model shows {chance:.3f} with "
        f"{count(len(sure), 'row')}. The intervals are at {CONFIDENCE:.0%} confidence.",
        drawn=True,
    )
