"""Whether an export agrees with a model as it has to, and which check it fails."""

from __future__ import annotations

from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.agreement import Agreement, Answer


def exact(agreement: Agreement, bounds: ParityConfig) -> str:
    """Say why an export that holds the weights as they are, or rounded once, is not what was trained; else nothing."""
    differ = agreement.answers.count(Answer.differs)
    if not agreement.stops_kept:
        return "an answer that the trained model ends continues"
    if differ:
        return f"greedy answers differ for {differ} of {len(agreement.answers)} prompts"
    if agreement.top1 < bounds.exact_raw_top1:
        return f"top-1 is {agreement.top1:.2%}, and parity.exact_raw_top1={bounds.exact_raw_top1:g}"
    if agreement.top1_beyond_ties < bounds.exact_top1:
        return f"top-1 with ties is {agreement.top1_beyond_ties:.2%}, and parity.exact_top1={bounds.exact_top1:g}"
    if agreement.kl > bounds.exact_kl:
        return f"KL is {agreement.kl:.2g}, and parity.exact_kl={bounds.exact_kl:g}"
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
    return ""
