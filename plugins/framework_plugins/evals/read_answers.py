"""What a model would answer, as far as one pass over the references shows it, so that it need not be generated.

A greedy answer is the reference as long as the likeliest token after each of its beginnings is its next one. Where it
leaves the reference, its beginning is known, which is enough for a metric such as `exact_match`, unless the reference
begins in the same way with other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.api import Metric, Model, Prompt, Scored, scoring
from framework.api.training import TokenRow

PARTIAL = "\ufffd"
"""The replacement character: decoding gives it for a character whose tokens are not all there."""


def read_answers(model: Model, prompts: Sequence[Prompt], metric: Metric, max_tokens: int) -> list[str | None]:
    """Return of each answer all that the metric needs, the whole or its beginning; None if it has to be generated.

    Args:
        model: as it is.
        prompts: the prompts; the answer to one without a reference has to be generated.
        metric: the metric that scores the answers.
        max_tokens: tokens of the longest answer.
    """
    answers: list[str | None] = [None] * len(prompts)
    for index, (row, scored) in scoring.references(model, prompts).items():
        begun, ends = _answer_beginning(model, row, scored, max_tokens)
        if ends or not scoring.may_match(metric, begun.rstrip(PARTIAL), prompts[index].reference or ""):
            answers[index] = begun
    return answers


def _answer_beginning(model: Model, row: TokenRow, scored: Scored, max_tokens: int) -> tuple[str, bool]:
    """Return the answer up to its first token that differs from the reference, and whether it ends there."""
    true = [label for label in row.labels[1:] if label != TokenRow.IGNORE]
    token_ids: list[int] = []
    for label, token in zip(true[:max_tokens], scored.top, strict=False):
        if token in model.stop_ids:
            return model.decode(token_ids), True
        token_ids.append(token)
        if token != label:
            return model.decode(token_ids), len(token_ids) == max_tokens
    return model.decode(token_ids), len(token_ids) == max_tokens
