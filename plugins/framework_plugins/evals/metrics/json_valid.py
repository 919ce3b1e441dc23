"""`metric=json_valid`: whether the answer is JSON, and where a schema is given, JSON that satisfies it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from framework.api import Metric
from framework_plugins.evals.config import JsonValidConfig
from framework_plugins.evals.json_schema import make_validator, read_schema


class JsonValid(Metric):
    """The share of answers that are JSON."""

    higher_is_better = True
    needs_reference = False

    def __init__(self, config: JsonValidConfig) -> None:
        self._validator = None if config.schema is None else make_validator(read_schema(config.schema))

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        """Return 1 if the answer is JSON that satisfies the schema."""
        try:
            value: Any = json.loads(answer, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return 0.0
        return float(self._validator is None or self._validator.is_valid(value))


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(constant)
