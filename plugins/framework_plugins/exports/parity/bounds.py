"""Whether an export agrees with a model as it has to, and which check it fails."""

from __future__ import annotations

from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.agreement import SURE, Agreement, Answer

TIMES = 2
"""How many times what a rounding to bf16 costs at the end of the long row an export in bf16 may cost there."""


def exact(agreement: Agreement, bounds: ParityConfig, rounding: float = 0.0) -> str:
    """Say why an export that holds the weights as they are, or rounded once, is not what was trained; else nothing.

    Args:
        agreement: what was found.
        bounds: the settings.
        rounding: divergence at the end of the long row that the rounding of the weights explains, in nats.
    """
    differ = agreement.answers.count(Answer.differs)
    if not agreement.stops_kept:
        return "an answer continues where the trained model ends it"
    if differ:
        return f"greedy answers differ for {differ} of {len(agreement.answers)} prompts"
    if agreement.top1 < bounds.exact_raw_top1:
        return f"top-1 is {agreement.top1:.2%}, and parity.exact_raw_top1={bounds.exact_raw_top1:g}"
    if agreement.top1_beyond_ties < bounds.exact_top1:
        return f"top-1 with ties is {agreement.top1_beyond_ties:.2%}, and parity.exact_top1={bounds.exact_top1:g}"
    if agreement.kl > bounds.exact_kl:
        return f"KL is {agreement.kl:.2g}, and parity.exact_kl={bounds.exact_kl:g}"
    if agreement.end_kl > bounds.exact_end_kl + TIMES * rounding:
        explained = f", with {rounding:.2g} that rounding to bf16 explains" if rounding else ""
        return (
            f"KL is {agreement.end_kl:.2g} at the end of {agreement.end_tokens:,} tokens, and parity.exact_end_kl="
            f"{bounds.exact_end_kl:g}{explained}: its positions (rope, sliding window) are not those of the training"
        )
    return ""


def within(agreement: Agreement, bounds: ParityConfig) -> str:
    """Say which bound a quantized file does not keep; else nothing."""
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
    share, error = agreement.share, agreement.share_error
    if share is not None and error is not None and error <= SURE and share < bounds.quantized_share:
        return f"{agreement.survived()} is left, and parity.quantized_share={bounds.quantized_share:g}"
    return ""
