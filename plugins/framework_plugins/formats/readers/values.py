"""Values of Arrow and of `datasets` -> what JSON can hold."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

DATE_TYPES = (dt.date, dt.time)  # a datetime is a date
TEXT_TYPES = (dt.timedelta, decimal.Decimal, uuid.UUID)


class NotPlainError(Exception):
    """A value that cannot be written as text."""


def plain_value(value: Any) -> Any:
    """Return a value with points in time and exact numbers as text, and tuples as lists.

    Raises:
        NotPlainError: it is or holds bytes, or an object.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {name if isinstance(name, str) else str(name): plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, DATE_TYPES):
        return value.isoformat()
    if isinstance(value, TEXT_TYPES):
        return str(value)
    raise NotPlainError(type(value).__name__)


def plain_row(fields: dict[str, Any], unsure: Iterable[str]) -> tuple[dict[str, Any], str]:
    """Make the values of the `unsure` columns plain, in place; return the row and its problem."""
    for name in unsure:
        try:
            fields[name] = plain_value(fields[name])
        except NotPlainError as error:
            return {}, f"the column '{name}' holds {error}, which is not text"
    return fields, ""


def unsure_columns(schema: Any) -> list[str]:
    """Return the columns of an Arrow schema whose values may be no plain JSON."""
    return [field.name for field in schema if not _is_plain(field.type)]


def _is_plain(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type)
    texts = types.is_string(kind) or types.is_large_string(kind)
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return bool(texts or numbers or types.is_null(kind))
