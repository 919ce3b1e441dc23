"""What JSON has no word for becomes text, and what no text stands for is named."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.formats.readers import values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_what_is_plain_stays_as_it_is(value: Any) -> None:
    assert values.plain_value(value) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC), "2024-01-02T03:00:00+00:00"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(days=1, hours=2), "1 day, 2:00:00"),
        (Decimal("0.10"), "0.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([(Decimal(1), None)], [["1", None]]),
        ({1: {"x": dt.date(2024, 1, 2)}}, {"1": {"x": "2024-01-02"}}),
    ],
)
def test_points_in_time_and_exact_numbers_become_text(value: Any, text: Any) -> None:
    assert values.plain_value(value) == text


def test_a_value_that_no_text_stands_for_is_named_with_its_column() -> None:
    assert values.plain_row({"a": 1, "b": [{"c": b"x"}]}, ["a", "b"]) == (
        {},
        "the column 'b' holds bytes, which is not text",
    )
    assert values.plain_row({"a": object()}, ["a"])[1] == "the column 'a' holds object, which is not text"
    assert values.plain_row({"a": b"x"}, []) == ({"a": b"x"}, "")


def test_only_columns_that_may_need_it_are_looked_at() -> None:
    kinds = {
        "text": pa.string(),
        "long": pa.large_string(),
        "number": pa.float32(),
        "yes": pa.bool_(),
        "nothing": pa.null(),
        "turns": pa.list_(pa.struct([("role", pa.string()), ("n", pa.int8())])),
        "word": pa.dictionary(pa.int8(), pa.string()),
        "day": pa.date32(),
        "days": pa.large_list(pa.struct([("day", pa.timestamp("ns"))])),
        "raw": pa.binary(),
        "map": pa.map_(pa.string(), pa.string()),
    }
    assert values.unsure_columns(pa.schema(list(kinds.items()))) == ["day", "days", "raw", "map"]
