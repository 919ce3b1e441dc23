"""`metric=regex`: whether the answer matches a regular expression."""

from __future__ import annotations

import re

from framework import FrameworkError
from framework.api import Metric
from framework_plugins.evals.config import RegexConfig


class Regex(Metric):
    """The share of answers that match."""

    higher_is_better = True
    needs_reference = False

    def __init__(self, config: RegexConfig) -> None:
        self.config = config
        self.pattern = compile_pattern(config)

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        """Look for the pattern, or compare it with the whole answer."""
        match = self.pattern.fullmatch(answer.strip()) if self.config.full else self.pattern.search(answer)
        return float(match is not None)


def compile_pattern(config: RegexConfig) -> re.Pattern[str]:
    """Return the pattern.

    Raises:
        FrameworkError: it is not a regular expression.
    """
    try:
        return re.compile(config.pattern, re.IGNORECASE if config.ignore_case else 0)
    except (re.error, RecursionError, OverflowError) as error:
        raise FrameworkError(f"not a regular expression: {error}") from error
