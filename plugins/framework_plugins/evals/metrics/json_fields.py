"""`metric=json_fields`: how much of the JSON in the reference is in the answer too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from framework.api import Metric
from framework_plugins.evals.config import JsonFieldsConfig

NO_JSON: Any = object()
OPENING = re.compile(r"[{\[]")
DECODER = json.JSONDecoder()


class JsonFields(Metric):
    """The share of the reference's values that the first JSON in the answer has in the same place."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, _: JsonFieldsConfig) -> None:
        """Take no settings."""

    def score(self, answer: str, reference: str | None) -> float:
        """Compare value by value; a reference without JSON is one value, which the whole answer has to be."""
        expected = _first_json(reference or "")
        if expected is NO_JSON:
            return float(answer.strip() == (reference or "").strip())
        answer_json = _first_json(answer)
        values = [*_leaf_values(expected, ())] or [((), expected)]
        answer_values = {} if answer_json is NO_JSON else dict([*_leaf_values(answer_json, ())] or [((), answer_json)])
        return sum(bool(answer_values.get(path, NO_JSON) == value) for path, value in values) / len(values)


def _first_json(text: str) -> Any:
    """Return a text as JSON, or else the first object or list in it: models put them into sentences and code blocks."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    for start in OPENING.finditer(text):
        with suppress(ValueError, RecursionError):
            return DECODER.raw_decode(text, start.start())[0]
    return NO_JSON


def _leaf_values(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Give each value that holds no others with its place; as JSON writes it, so that 1 is not true."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaf_values(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaf_values(inner, (*path, index))
    else:
        yield path, json.dumps(value)
