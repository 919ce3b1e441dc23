"""What is known of the rows of a run before they are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownRows:
    """Of the training rows as they are trained on: their number, tokens, learned tokens, 99th percentile and longest.

    `shared` are the tokens with which all of them begin, as far as a sample tells. `computed` is the share of the
    tokens that went through the model, where a training has told: rows that share their beginnings are computed once.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    p99: int
    longest: int
    shared: int = 0
    computed: float = 1.0
