"""Metrics that score one answer."""

from __future__ import annotations

import json

from framework_evals.config import ExactMatchConfig, JsonValidConfig


class ExactMatch:
    """The share of answers that are the reference."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: ExactMatchConfig) -> None:
        self.config = config

    def score(self, answer: str, reference: str | None) -> float:
        """Compare without the white space around."""
        pair = [text.strip() for text in (answer, reference or "")]
        if self.config.ignore_case:
            pair = [text.casefold() for text in pair]
        return float(pair[0] == pair[1])


class JsonValid:
    """The share of answers that are JSON."""

    higher_is_better = True
    needs_reference = False

    def __init__(self, config: JsonValidConfig) -> None:
        self.config = config

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        """Parse the answer."""
        try:
            json.loads(answer)
        except ValueError:
            return 0.0
        return 1.0
