"""The fields of a config dataclass, with type, default, valid values and documentation.

    for field in fields(HFTrainerConfig):
        print(field.name, field.valid, field.default, field.doc)

A range is written beside the type with the constraints of `annotated_types`: `Annotated[float, Gt(0)]`. The checks of
the config, the reference, the JSON Schemas and `python -m framework plugins` all read it here. The same place says what
a setting invalidates, `Annotated[float, Gt(0), ~Affects.base]`, which the keys of caches read.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import annotated_types
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.util.affects import Affects

__all__ = [
    "Field",
    "NamesCode",
    "OrWord",
    "Type",
    "fields",
]

KINDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list", dict: "named values",
    Any: "any value",
}  # fmt: skip
CONTAINERS: dict[Any, Any] = {list: list | tuple, dict: Mapping}
NAMES = {int: "int", float: "float", bool: "bool", str: "str", Any: "any"}


@dataclass(frozen=True)
class OrWord:
    """Marks a number that a word may replace: `Annotated[int | str, OrWord("auto"), Gt(0)]`."""

    word: str


@dataclass(frozen=True)
class NamesCode:
    """Marks a setting that names code, or makes code run: `environment: Annotated[str | None, NamesCode()] = None`.

    The command line and Python may set it, and so may the config of an installed package. A file of the user may not: a
    config from somebody else would run code.

    Attributes:
        when: whether a value names code; by default, one that is not empty or false.
    """

    when: Callable[[Any], bool] = bool


@dataclass(frozen=True)
class Type:
    """The parsed type of a field. `items` is the type of the items of a list or of the values of a dict.

    `affects` is what a field of this type can invalidate: everything if nothing is marked. `word` may replace a number.
    `code` says whether a value names code.
    """

    base: Any
    optional: bool = False
    bounds: tuple[annotated_types.BaseMetadata, ...] = ()
    items: Type | None = None
    affects: Affects = ~Affects.nothing
    word: str = ""
    code: NamesCode | None = None

    @property
    def name(self) -> str:
        """The type as documentation writes it: `int`, `list[str]`, `float or null`."""
        name = NAMES[self.base] if self.base in NAMES else str(getattr(self.base, "__name__", "any"))
        if self.items:
            name = f"{name}[{self.items.name}]"
        return " or ".join([name, *self._others])

    @property
    def choices(self) -> list[str]:
        """The names of an Enum's members; none for other types."""
        return list(self.base.__members__) if isinstance(self.base, type) and issubclass(self.base, Enum) else []

    @property
    def valid(self) -> str:
        """The valid values as text: `a whole number above 0`."""
        kind = KINDS.get(self.base, "a group of settings")
        words = f"one of {', '.join(self.choices)}" if self.choices else kind
        words = " ".join([words, *filter(None, [_range(self.bounds)])])
        if self.items:
            words = f"{words}, each {self.items.valid}"
        return ", or ".join([words, *self._others])

    @property
    def _others(self) -> list[str]:
        return [*filter(None, [self.word]), *(["null"] if self.optional else [])]

    def holds(self, value: Any) -> bool:
        """Whether a value that has the type lies within the bounds, its items included."""
        if value is None:
            return self.optional or self.base is Any
        if self.word and isinstance(value, str):
            return value == self.word
        if not self.has_form(value):
            return False
        if self.items and isinstance(value, dict | list):
            items = value.values() if isinstance(value, dict) else value
            if not all(self.items.holds(item) for item in items):
                return False
        return all(_within(value, bound) for bound in self.bounds)

    def has_form(self, value: Any) -> bool:
        """Whether a value is a list, named values or a plain value as this type is; items of a list are not checked.

        OmegaConf lets a list of texts hold lists and dicts.
        """
        plain = self.base in {bool, int, float, str, Path} or bool(self.choices)
        if isinstance(value, list | tuple | Mapping) and plain:
            return False
        return value is None or self.base not in CONTAINERS or isinstance(value, CONTAINERS[self.base])


@dataclass(frozen=True)
class Field:
    """One setting. `default` is `omegaconf.MISSING` if the user has to give a value."""

    name: str
    type: Type
    default: Any
    schema: Any

    @property
    def doc(self) -> str:
        """The sentence under it, from the source, which is read only when the sentence is needed."""
        # The class that overrides a default may leave the sentence to its base.
        bases: list[Any] = [base for base in self.schema.__mro__ if dataclasses.is_dataclass(base)]
        return next((docs[self.name] for base in bases if self.name in (docs := _docs(base))), "")

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return isinstance(self.default, str) and self.default == MISSING

    @property
    def valid(self) -> str:
        """The valid values as text."""
        return self.type.valid

    @property
    def affects(self) -> Affects:
        """What it can invalidate, by the mark beside its type; everything if there is no mark."""
        return self.type.affects

    def has_type(self, value: Any) -> bool:
        """Whether a value from YAML or the command line can have this type, regardless of its range.

        An interpolation (`${seed}`) can be checked only when it is resolved.
        """
        if isinstance(value, str) and "${" in value:
            return True
        try:
            # Merged, a list or a dict would be taken for a value of any type.
            OmegaConf.update(self._node(), self.name, value, merge=self.type.base is not dict)
        except OmegaConfBaseException:
            return False
        return True

    def accepts(self, value: Any) -> bool:
        """Whether a value has the type and lies within the bounds."""
        if not self.has_type(value):
            return False
        node = self._node()
        OmegaConf.update(node, self.name, value)
        if OmegaConf.is_missing(node, self.name) or OmegaConf.is_interpolation(node, self.name):
            return True
        typed = node[self.name]
        return self.type.holds(OmegaConf.to_container(typed) if OmegaConf.is_config(typed) else typed)

    def _node(self) -> DictConfig:
        node: DictConfig = OmegaConf.structured(_one_field_schema(self.schema, self.name))
        return node


@functools.cache
def fields(schema: type) -> tuple[Field, ...]:
    """Return the fields of a config dataclass in their order, those of its bases first."""
    hints = get_type_hints(schema, include_extras=True)
    return tuple(
        Field(field.name, parse(hints[field.name]), _default(field), schema) for field in dataclasses.fields(schema)
    )


def parse(hint: Any) -> Type:
    """Take a type annotation apart."""
    bounds: tuple[annotated_types.BaseMetadata, ...] = ()
    optional, word, code = False, "", None
    affects = ~Affects.nothing
    while get_origin(hint) in {Annotated, Union, types.UnionType}:
        if get_origin(hint) is Annotated:
            hint, *metadata = get_args(hint)
            bounds += tuple(bound for bound in _flat(metadata) if isinstance(bound, annotated_types.BaseMetadata))
            for mark in metadata:
                affects &= mark if isinstance(mark, Affects) else ~Affects.nothing
                word = mark.word if isinstance(mark, OrWord) else word
                code = mark if isinstance(mark, NamesCode) else code
        else:
            optional = optional or types.NoneType in get_args(hint)
            alternatives = [
                part for part in get_args(hint) if part is not types.NoneType and not (word and part is str)
            ]
            hint = alternatives[0] if len(alternatives) == 1 else Any
    base = get_origin(hint) or hint
    items = parse(get_args(hint)[-1]) if base in {list, dict} and get_args(hint) else None
    return Type(base, optional, bounds, items, affects, word, code)


@functools.cache
def _one_field_schema(schema: type, name: str) -> type:
    """Return a dataclass with one field of a schema: a config of all fields takes several times as long to make."""
    field = next(candidate for candidate in dataclasses.fields(schema) if candidate.name == name)
    hint = get_type_hints(schema, include_extras=True)[name]
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.make_dataclass(
            schema.__name__, [(name, hint, dataclasses.field(default_factory=field.default_factory))]
        )
    return dataclasses.make_dataclass(schema.__name__, [(name, hint, dataclasses.field(default=field.default))])


def _flat(bounds: Iterable[Any]) -> Iterable[Any]:
    """Take groups such as `Interval` and `Len` apart."""
    for bound in bounds:
        yield from bound if isinstance(bound, annotated_types.GroupedMetadata) else [bound]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()


@functools.cache
def _docs(schema: type) -> dict[str, str]:
    """Return the docstring below each field, read from the source; empty if the source is not available."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


_WITHIN: dict[type, Callable[[Any, Any], bool]] = {
    annotated_types.Gt: lambda value, bound: value > bound.gt,
    annotated_types.Ge: lambda value, bound: value >= bound.ge,
    annotated_types.Lt: lambda value, bound: value < bound.lt,
    annotated_types.Le: lambda value, bound: value <= bound.le,
    annotated_types.MultipleOf: lambda value, bound: math.isclose(value % bound.multiple_of, 0),
    annotated_types.MinLen: lambda value, bound: len(value) >= bound.min_length,
    annotated_types.MaxLen: lambda value, bound: len(value) <= bound.max_length,
    annotated_types.Predicate: lambda value, bound: bool(bound.func(value)),
}


def _within(value: Any, bound: annotated_types.BaseMetadata) -> bool:
    if type(bound) not in _WITHIN:
        raise TypeError(f"a bound of the kind {type(bound).__name__} is not understood")
    return _WITHIN[type(bound)](value, bound)


def _range(bounds: Iterable[annotated_types.BaseMetadata]) -> str:
    """Write the bounds as text: `above 0`, `from 0 to below 1`."""
    low: dict[str, str] = {}
    phrases = []
    for bound in bounds:
        match bound:
            case annotated_types.Gt(gt):
                low["gt"] = f"{gt}"
            case annotated_types.Ge(ge):
                low["ge"] = f"{ge}"
            case annotated_types.Lt(lt):
                low["lt"] = f"{lt}"
            case annotated_types.Le(le):
                low["le"] = f"{le}"
            case annotated_types.MultipleOf(step):
                phrases.append(f"in steps of {step}")
            case annotated_types.MinLen(length):
                phrases.append("that is not empty" if length == 1 else f"of at least {length}")
            case annotated_types.MaxLen(length):
                exact = f"of at least {length}" in phrases
                phrases = [
                    f"of {length}" if exact and phrase == f"of at least {length}" else phrase for phrase in phrases
                ]
                phrases += [] if exact else [f"of at most {length}"]
            case annotated_types.Predicate(function):
                phrases.append((function.__doc__ or function.__name__).strip().splitlines()[0].rstrip("."))
    words = {
        ("gt",): "above {gt}",
        ("ge",): "of at least {ge}",
        ("lt",): "below {lt}",
        ("le",): "of at most {le}",
        ("gt", "lt"): "above {gt} and below {lt}",
        ("gt", "le"): "above {gt}, up to {le}",
        ("ge", "lt"): "from {ge} to below {lt}",
        ("ge", "le"): "from {ge} to {le}",
    }
    key = tuple(name for name in ("gt", "ge", "lt", "le") if name in low)
    return ", ".join([*([words[key].format(**low)] if key else []), *phrases])


def as_text(value: Any, text: Callable[[str], str] = str) -> str:
    """Write a value as on the command line: `null`, `0.0002`, `[plan,train]`, `{a:1}`; `text` writes texts."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{as_text(part, text)}' for key, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(as_text(part, text) for part in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        # The short form, unless it loses digits.
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    # An empty text would be no value at all on a command line.
    return (text(str(value)) if isinstance(value, str | Path) else str(value)) or "''"
