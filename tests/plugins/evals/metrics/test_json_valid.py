"""An answer is valid when all of it is JSON, and satisfies the schema if there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.evals.config import JsonValidConfig
from framework_plugins.evals.metrics.json_valid import JsonValid

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"item": {"$ref": "#/$defs/word"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["item", "count"],
    "additionalProperties": False,
    "$defs": {"word": {"type": "string", "minLength": 1}},
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["item", "count", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"a": 1}', 1),
        (" [1]\n", 1),
        ("3", 1),
        ('{"a": 1', 0),
        ('```json\n{"a": 1}\n```', 0),
        ("Sure: {}", 0),
        ("", 0),
        ("NaN", 0),
        ('{"a": -Infinity}', 0),
        ("[" * 100_000, 0),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_answer_is_valid_when_all_of_it_is_json(answer: str, score: int) -> None:
    assert JsonValid(JsonValidConfig()).score(answer, None) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"item": "tea", "count": 2}', 1),
        ('{"item": "", "count": 2}', 0),
        ('{"item": "tea", "count": 0}', 0),
        ('{"item": "tea", "count": "2"}', 0),
        ('{"item": "tea"}', 0),
        ('{"item": "tea", "count": 2, "more": 1}', 0),
        ('["tea", 2]', 0),
        ("tea", 0),
    ],
)
def test_with_a_schema_it_has_to_satisfy_it(answer: str, score: int, tmp_path: Path) -> None:
    assert JsonValid(JsonValidConfig(schema=SCHEMA)).score(answer, None) == score
    file = tmp_path / "order.schema.json"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    assert JsonValid(JsonValidConfig(schema=str(file))).score(answer, None) == score


@given(value=VALUES)
def test_the_scores_are_those_of_the_library(value: Any) -> None:
    text = json.dumps(value)
    assert JsonValid(JsonValidConfig()).score(text, None) == 1
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert JsonValid(JsonValidConfig(schema=SCHEMA)).score(text, None) == float(valid)


def test_the_draft_that_a_schema_names_counts() -> None:
    tuples = {"items": [{"type": "integer"}]}
    four = {"$schema": "http://json-schema.org/draft-04/schema#", **tuples}
    assert JsonValid(JsonValidConfig(schema=four)).score('["x"]', None) == 0
    assert JsonValid(JsonValidConfig(schema=four)).score('[1, "x"]', None) == 1
