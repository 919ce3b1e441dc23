"""Schemas are checked as a whole before a run, and nothing is fetched for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from framework import FrameworkError
from framework_plugins.evals.json_schema import make_validator, read_schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            {"type": "objekt"},
            "not a valid JSON Schema: at $.type: 'objekt' is not valid under any of the given schemas",
        ),
        (
            {"properties": {"a": {"minimum": "1"}}},
            "not a valid JSON Schema: at $.properties.a.minimum: '1' is not of type",
        ),
        ([1], "not a valid JSON Schema: at $: [1] is not of type 'object', 'boolean'"),
        ({"$ref": "#/$defs/lost"}, "the schema refers to '#/$defs/lost', which is not in it"),
        ({"items": {"$ref": "https://example.com/order.json"}}, "refers to 'https://example.com/order.json', which is"),
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_used_is_refused(schema: object, problem: str) -> None:
    with pytest.raises(FrameworkError, match=re.escape(problem)):
        make_validator(schema)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
        {"$id": "https://example.com/a", "$ref": "b", "$defs": {"b": {"$id": "b", "type": "integer"}}},
        {"$ref": "#word", "$defs": {"w": {"$anchor": "word", "type": "integer"}}},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
    ],
    ids=str,
)
def test_references_within_a_schema_are_followed(schema: object) -> None:
    made = make_validator(schema)
    assert made.is_valid(3) is not (isinstance(schema, dict) and schema.get("type") == "object")


def test_a_schema_is_a_file_or_a_mapping(tmp_path: Path) -> None:
    assert read_schema({"type": "object"}) == {"type": "object"}
    (tmp_path / "order.json").write_text('{"type": "object"}', encoding="utf-8")
    assert read_schema(str(tmp_path / "order.json")) == {"type": "object"}
    with pytest.raises(
        FrameworkError, match=r"orders\.json cannot be read \(No such file.*\)\. Beside it: order\.json"
    ):
        read_schema(str(tmp_path / "orders.json"))
    with pytest.raises(FrameworkError, match="a schema is a file or named values, and this is a int"):
        read_schema(3)
    (tmp_path / "order.json").write_text('{\n "type": object}', encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"order\.json:2: not valid JSON: Expecting value at column 10"):
        read_schema(str(tmp_path / "order.json"))
    (tmp_path / "order.json").write_bytes(b'"\xff"')
    with pytest.raises(FrameworkError, match=r"order\.json is not valid JSON: UnicodeDecodeError"):
        read_schema(str(tmp_path / "order.json"))
