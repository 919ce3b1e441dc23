"""What a dataclass says of its fields: types, ranges and sentences, as text and as checks."""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MultipleOf, Predicate
from omegaconf import MISSING

from framework.api.fields import OrWord, fields, parse


class Colour(Enum):
    """Two colours."""

    red = "r"
    blue = "b"


def even(value: int) -> bool:
    """An even number."""
    return value % 2 == 0


@dataclass
class Base:
    """A base."""

    first: Annotated[int, Gt(0)] = 1
    """The first."""


@dataclass
class Example(Base):
    """An example."""

    path: str = MISSING
    """A path that
    goes over two lines."""
    rate: Annotated[float | None, Interval(gt=0, le=1)] = None
    colour: Colour = Colour.red
    """A colour."""
    colours: Annotated[list[Colour], Len(1)] = field(default_factory=lambda: [Colour.blue])
    sizes: dict[str, Annotated[int, Ge(0)]] = field(default_factory=dict)
    many: Annotated[int | str, OrWord("auto"), Gt(0)] = "auto"


FIELDS = {each.name: each for each in fields(Example)}


def test_fields_of_bases_come_first_and_each_has_the_sentence_under_it() -> None:
    assert list(FIELDS) == ["first", "path", "rate", "colour", "colours", "sizes", "many"]
    assert FIELDS["first"].doc == "The first."
    assert FIELDS["path"].doc == "A path that\ngoes over two lines."
    assert FIELDS["rate"].doc == ""


def test_a_field_without_a_default_is_required() -> None:
    assert [name for name, each in FIELDS.items() if each.required] == ["path"]
    assert FIELDS["colours"].default == [Colour.blue]


@pytest.mark.parametrize(
    ("name", "kind", "valid"),
    [
        ("first", "int", "a whole number above 0"),
        ("path", "str", "text"),
        ("rate", "float or null", "a number above 0, up to 1, or null"),
        ("colour", "Colour", "one of red, blue"),
        ("colours", "list[Colour]", "a list that is not empty, each one of red, blue"),
        ("sizes", "dict[int]", "named values, each a whole number of at least 0"),
        ("many", "int or auto", "a whole number above 0, or auto"),
    ],
)
def test_types_and_ranges_are_put_into_words(name: str, kind: str, valid: str) -> None:
    assert (FIELDS[name].type.name, FIELDS[name].valid) == (kind, valid)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("first", [1, "2", "${seed}"], [0, -1, 1.5, "x", None]),
        ("path", ["x", 3, "???"], [None, []]),
        ("rate", [1, 0.5, None, "1e-3"], [0, 1.1, math.nan, math.inf, "x"]),
        ("colour", ["red", Colour.blue], ["green", None]),
        ("colours", [["red"], ["red", "blue"]], [[], ["green"], "red", None]),
        ("sizes", [{}, {"a": 0}], [{"a": -1}, {"a": "x"}, []]),
    ],
)
def test_a_value_is_accepted_where_type_and_range_fit(name: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not FIELDS[name].accepts(value)] == []
    assert [value for value in bad if FIELDS[name].accepts(value)] == []


@pytest.mark.parametrize(
    ("bounds", "words", "good", "bad"),
    [
        ((Lt(3),), "below 3", 2, 3),
        ((Le(3),), "of at most 3", 3, 4),
        ((Gt(0), Lt(1)), "above 0 and below 1", 0.5, 1),
        ((Ge(0), Le(1)), "from 0 to 1", 1, 2),
        ((Ge(0), Lt(1)), "from 0 to below 1", 0, 1),
        ((MultipleOf(8),), "in steps of 8", 16, 12),
        ((Predicate(even),), "An even number", 2, 3),
    ],
)
def test_every_bound_is_checked_and_said(bounds: tuple[Any, ...], words: str, good: float, bad: float) -> None:
    kind = parse(Annotated[(float, *bounds)])
    assert kind.valid == f"a number {words}"
    assert kind.holds(good)
    assert not kind.holds(bad)


def test_a_bound_of_a_length_is_checked_and_said() -> None:
    kind = parse(Annotated[str, MaxLen(2)])
    assert kind.valid == "text of at most 2"
    assert (kind.holds("ab"), kind.holds("abc")) == (True, False)
