"""What can be set: the fields of a config dataclass with type, default, valid values and documentation.

    for field in fields(HFTrainerConfig):
        print(field.name, field.valid, field.default, field.doc)

A range is written beside the type with the constraints of `annotated_types`: `Annotated[float, Gt(0)]`. The checks of
the config, the reference, the JSON Schemas and `python -m framework plugins` all read it here.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
import textwrap
import types
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import annotated_types
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Any: "any value"}
NAMES = {int: "int", float: "float", bool: "bool", str: "str", Any: "any"}


@dataclass(frozen=True)
class Type:
    """A type that a field may have, taken apart. `items` is the type of the items of a list or of a dict's values."""

    base: Any
    optional: bool = False
    bounds: tuple[annotated_types.BaseMetadata, ...] = ()
    items: Type | None = None

    @property
    def name(self) -> str:
        """The type as documentation writes it: `int`, `list[str]`, `float or null`."""
        name = NAMES.get(self.base) or getattr(self.base, "__name__", str(self.base))
        if self.items:
            name = f"{name}[{self.items.name}]"
        return f"{name} or null" if self.optional else name

    @property
    def choices(self) -> list[str]:
        """The names of an Enum's members; none for other types."""
        return list(self.base.__members__) if isinstance(self.base, type) and issubclass(self.base, Enum) else []

    @property
    def valid(self) -> str:
        """The valid values in words: `a whole number above 0`."""
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        elif self.items:
            kind = "a list" if self.base is list else "named values"
            words = f"{kind}, each {self.items.valid}"
        else:
            words = KINDS.get(self.base, "a group of settings")
        words = " ".join([words, *filter(None, [_range(self.bounds)])])
        return f"{words}, or null" if self.optional else words

    def holds(self, value: Any) -> bool:
        """Whether a value that has the type lies within the bounds, its items included."""
        if value is None:
            return self.optional
        if self.items and isinstance(value, dict | list):
            items = value.values() if isinstance(value, dict) else value
            if not all(self.items.holds(item) for item in items):
                return False
        return all(_within(value, bound) for bound in self.bounds)


@dataclass(frozen=True)
class Field:
    """One setting. `default` is `omegaconf.MISSING` where the user has to give a value."""

    name: str
    type: Type
    default: Any
    doc: str
    schema: type

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return isinstance(self.default, str) and self.default == MISSING

    @property
    def valid(self) -> str:
        """The valid values in words."""
        return self.type.valid

    def accepts(self, value: Any) -> bool:
        """Whether a value, as YAML or the command line gives it, has the type and lies within the bounds.

        An interpolation (`${seed}`) is accepted: it can be judged only when it is resolved.
        """
        if isinstance(value, str) and "${" in value:
            return True
        node = OmegaConf.structured(self.schema)
        try:
            OmegaConf.update(node, self.name, value)
            plain = OmegaConf.to_container(node)[self.name]  # type: ignore[index, call-overload]
        except OmegaConfBaseException:
            return False
        return plain == MISSING or self.type.holds(plain)


@functools.cache
def fields(schema: type) -> tuple[Field, ...]:
    """Return the fields of a config dataclass in their order, those of its bases first."""
    hints = get_type_hints(schema, include_extras=True)
    docs: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        docs |= _docs(base) if dataclasses.is_dataclass(base) else {}
    return tuple(
        Field(field.name, parse(hints[field.name]), _default(field), docs.get(field.name, ""), schema)
        for field in dataclasses.fields(schema)
    )


def parse(hint: Any) -> Type:
    """Take a type annotation apart."""
    bounds: tuple[annotated_types.BaseMetadata, ...] = ()
    optional = False
    while get_origin(hint) in {Annotated, Union, types.UnionType}:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            bounds += tuple(bound for bound in _flat(more) if isinstance(bound, annotated_types.BaseMetadata))
        else:
            rest = [part for part in get_args(hint) if part is not types.NoneType]
            optional = optional or len(rest) < len(get_args(hint))
            hint = rest[0] if len(rest) == 1 else Any
    base = get_origin(hint) or hint
    items = parse(get_args(hint)[-1]) if base in {list, dict} and get_args(hint) else None
    return Type(base, optional, bounds, items)


def _flat(bounds: Iterable[Any]) -> Iterable[Any]:
    """Take groups such as `Interval` and `Len` apart."""
    for bound in bounds:
        yield from bound if isinstance(bound, annotated_types.GroupedMetadata) else [bound]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()


def _docs(schema: type) -> dict[str, str]:
    """Return the sentence that stands under each field, out of the source; none where there is no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _within(value: Any, bound: annotated_types.BaseMetadata) -> bool:
    match bound:
        case annotated_types.Gt(gt):
            return bool(value > gt)
        case annotated_types.Ge(ge):
            return bool(value >= ge)
        case annotated_types.Lt(lt):
            return bool(value < lt)
        case annotated_types.Le(le):
            return bool(value <= le)
        case annotated_types.MultipleOf(step):
            return math.isclose(value % step, 0)
        case annotated_types.MinLen(length):
            return len(value) >= length
        case annotated_types.MaxLen(length):
            return len(value) <= length
        case annotated_types.Predicate(function):
            return bool(function(value))
    message = f"a bound of the kind {type(bound).__name__} is not understood"
    raise TypeError(message)


def _range(bounds: Iterable[annotated_types.BaseMetadata]) -> str:
    """Say the bounds in words: `above 0`, `from 0 to below 1`."""
    low: dict[str, str] = {}
    more = []
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
                more.append(f"in steps of {step}")
            case annotated_types.MinLen(length):
                more.append(f"at least {length} long")
            case annotated_types.MaxLen(length):
                more.append(f"at most {length} long")
            case annotated_types.Predicate(function):
                more.append((function.__doc__ or function.__name__).strip().splitlines()[0].rstrip("."))
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
    return ", ".join([*([words[key].format(**low)] if key else []), *more])
