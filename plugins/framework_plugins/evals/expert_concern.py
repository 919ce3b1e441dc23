"""How evenly the experts of a mixture are used before and after the training, and whether some are used no more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from framework import Plan
from framework.api import Aspect, Concern, ExpertUse, Results, count

FAIR = 0.5
"""The share of an even use from which an expert is in use before the training."""
NAMED = 3
"""Layers that a message names."""


def expert_concerns(plan: Plan, results: Results) -> Iterator[Concern]:
    """Give the balance of the experts, flagged if some are chosen no more; nothing for a model without experts."""
    before, after = results.before.experts if results.before else None, results.after.experts
    if after is None:
        return
    balance = [f"{when} {_balance(use)}" for when, use in (("before", before), ("after", after)) if use is not None]
    text = f"experts of {count(len(after.counts), 'layer')} on {after.tokens:,} held-out tokens: {'; '.join(balance)}"
    dead = dead_experts(before, after, plan.settings.verdict.confidence) if before else {}
    if not dead:
        yield Concern("experts", Aspect.task, text, "", flagged=False)
        return
    total = sum(map(len, dead.values()))
    named = "; ".join(f"{', '.join(map(str, numbers))} of {layer}" for layer, numbers in [*dead.items()][:NAMED])
    summary = f"{count(total, 'expert')} in use before the training, and chosen by no held-out token after it: {named}"
    more = f" and {count(len(dead) - NAMED, 'more layer')}" if len(dead) > NAMED else ""
    yield Concern("experts", Aspect.task, text, "Lower trainer.learning_rate", flagged=True, summary=f"{summary}{more}")


# Decided by a sign test: text by text, either of the two models may be the one that chooses an expert.
def dead_experts(before: ExpertUse, after: ExpertUse, confidence: float) -> Mapping[str, Sequence[int]]:
    """Return the experts by layer that had a fair share of the tokens before, and have none after.

    If a training changes nothing about an expert, then before and after may change places in each text. Of m texts that
    choose it in one of the two only, all are on one side with a probability of 2^-m; all experts of the model share the
    level.

    Args:
        before: the use of the model that the training started from.
        after: that of the trained model, on the same rows.
        confidence: of the verdict.
    """
    if (before.tokens, before.texts) != (after.tokens, after.texts):
        return {}
    experts = sum(map(len, after.counts.values()))
    texts = math.log2(experts / (1 - confidence))
    dead = {}
    for layer, counts in after.counts.items():
        earlier, in_texts = before.counts.get(layer, []), before.in_texts.get(layer, [])
        fair = FAIR * before.tokens * before.chosen / len(counts)
        numbers = [
            number
            for number, (now, then, seen) in enumerate(zip(counts, earlier, in_texts, strict=False))
            if not now and then >= fair and seen >= texts
        ]
        if numbers:
            dead[layer] = numbers
    return dead


def _balance(use: ExpertUse) -> str:
    unused = sum(not chosen for counts in use.counts.values() for chosen in counts)
    busiest = max(max(counts) * len(counts) / sum(counts) for counts in use.counts.values())
    evenness = fmean(_evenness(counts) for counts in use.counts.values())
    total = sum(map(len, use.counts.values()))
    even = f"the busiest has {busiest:.1f} times its even share, evenness {evenness:.2f}"
    return f"{unused:,} of {total:,} unused, {even}"


def _evenness(counts: Sequence[int]) -> float:
    """Return the entropy of a layer's use as a share of the largest one: 1 if all experts are chosen equally often."""
    shares = [chosen / sum(counts) for chosen in counts if chosen]
    return abs(sum(share * math.log(share) for share in shares)) / math.log(len(counts)) if len(counts) > 1 else 1.0
