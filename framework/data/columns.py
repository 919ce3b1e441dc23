r"""`format.columns` and `format.cluster`: which columns become the fields of a format, and what a row belongs to.

    format.columns={instruction: Ticket text, output: "{category}\n{reply}"}

reads one column as it is, and joins two others with a line break. A name with dots leads into an object or a list:
`inputs.question`, `choices.0.message.content`.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from framework.api.problem import Problem
from framework.api.schema import FormatConfig
from framework.data.conversation_checks import check_text
from framework.util.errors import FrameworkError, unknown
from framework.util.nested import MISSING, nested_values, others, resolve, value_at

SHOWN_CHARACTERS = 40
"""Characters of a value that a message shows."""
ESCAPES = {r"\n": "\n", r"\t": "\t"}
"""Hydra and a shell leave them as they are typed."""


def problems(columns: Mapping[str, str | None], setting: str = "format.columns") -> Iterator[Problem]:
    """Return the problems with the values of `format.columns`."""
    for name, value in columns.items():
        try:
            _parse_origin(f"{setting}.{name}", value)
        except FrameworkError as error:
            yield Problem(str(error), (f"{setting}.{name}",))


class Columns:
    """Applies `format.columns` and `format.cluster`.

    A row that lacks a column of the first keeps the field it would have become, if it has one.
    """

    def __init__(self, config: FormatConfig) -> None:
        self._origins = {name: _parse_origin(f"format.columns.{name}", value) for name, value in config.columns.items()}
        self._left_out = {name for name, value in config.columns.items() if value is None}
        self._cluster = config.cluster
        self._unseen = {
            column: f"{origin.setting}={f'{{{column}}}' if origin.parts else column}"
            for origin in self._origins.values()
            for column in origin.columns
        }
        self._unseen |= {name: f"format.columns.{name}=null" for name in self._left_out}
        if config.cluster is not None:
            self._unseen[config.cluster] = f"format.cluster={config.cluster}"
        self._nested = any("." in column for origin in self._origins.values() for column in origin.columns)
        self._first: Mapping[str, Any] | None = None

    def read(self, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """Return a row with its fields renamed, and its cluster; empty if it has none.

        Raises:
            FrameworkError: columns cannot be joined, or the cluster of the row is not valid text.
        """
        value = MISSING if self._cluster is None else value_at(fields, self._cluster)
        cluster = "" if value in (None, MISSING) else str(value)
        check_text(f"the field '{self._cluster}'", cluster)
        return self._rename_fields(fields), cluster

    def _rename_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._first is None:
            self._first = fields
        if self._unseen:
            self._unseen = {
                column: setting for column, setting in self._unseen.items() if value_at(fields, column) is MISSING
            }
        if not self._origins:
            return fields
        present = {name: origin for name, origin in self._origins.items() if origin.is_in(fields)}
        columns = {column for origin in present.values() for column in origin.columns}
        used_names = {*present, *self._left_out, *columns}
        renamed = {name: value for name, value in fields.items() if name not in used_names}
        if self._nested:
            renamed = _replace_nested(renamed, fields, columns | self._left_out)
        return renamed | {name: origin.value(fields) for name, origin in present.items()}

    def check(self) -> None:
        """Check that each column occurred, also if the rows have the field that it would become.

        Raises:
            FrameworkError: no row has it.
        """
        if self._first is None:
            return
        for column, setting in self._unseen.items():
            valid = dict.fromkeys([*map(str, self._first), *(path for path, _ in nested_values(self._first))])
            raise FrameworkError(f"{setting} is in no row: {unknown('column', column, valid)}")


def _replace_nested(renamed: Mapping[str, Any], fields: Mapping[str, Any], columns: set[str]) -> dict[str, Any]:
    """Replace an object or a list by its parts that no column takes, each under its path."""
    paths = [parts for column in columns if column not in fields and (parts := resolve(fields, column)) is not None]
    roots = {parts[0] for parts in paths}
    remaining = {name: value for name, value in renamed.items() if name not in roots}
    for root in roots - columns:
        remaining |= others(fields[root], [parts[1:] for parts in paths if parts[0] == root], root)
    return remaining


@dataclass(frozen=True)
class _Origin:
    """The source of a field: one column, or columns joined by `parts`, each a text and the column after it."""

    setting: str
    columns: tuple[str, ...] = ()
    parts: tuple[tuple[str, str | None], ...] = ()

    def is_in(self, fields: Mapping[str, Any]) -> bool:
        return any(value_at(fields, column) is not MISSING for column in self.columns)

    def value(self, fields: Mapping[str, Any]) -> Any:
        if not self.parts:
            return value_at(fields, self.columns[0])
        return "".join(text if column is None else f"{text}{self._text(fields, column)}" for text, column in self.parts)

    def _text(self, fields: Mapping[str, Any], column: str) -> str:
        value = value_at(fields, column)
        if isinstance(value, str):
            return value
        # As JSON, so that true is `true` and 1.0 is `1.0`; NaN and infinity are not JSON.
        if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            return json.dumps(value)
        shown = "null" if value is None else repr(value)[:SHOWN_CHARACTERS]
        description = "no such column" if value is MISSING else shown
        raise FrameworkError(f"{self.setting} needs text or a number in the column '{column}', found {description}")


def _parse_origin(setting: str, value: str | None) -> _Origin:
    """Read a value of `format.columns`.

    Raises:
        FrameworkError: its braces do not match.
    """
    if value is None:
        return _Origin(setting)
    if not {"{", "}"} & set(value):
        return _Origin(setting, (value,))
    try:
        parts = [
            (text, None if name is None else "".join((name, f"!{how}" if how else "", f":{spec}" if spec else "")))
            # Joined again: `Formatter` takes what follows a colon or an exclamation mark in a name for a format.
            for text, name, spec, how in string.Formatter().parse(value)
        ]
    except ValueError as error:
        raise FrameworkError(
            f"{setting}={value!r}: {error}. Write {{COLUMN}} for a column, and {{{{ or }}}} for a brace"
        ) from error
    columns = tuple(dict.fromkeys(name for _, name in parts if name is not None))
    if "" in columns:
        raise FrameworkError(f"{setting}={value!r} has braces without the name of a column between them")
    if not columns:  # a column whose name has braces
        return _Origin(setting, ("".join(text for text, _ in parts),))
    return _Origin(setting, columns, tuple((_unescape(text), name) for text, name in parts))


def _unescape(text: str) -> str:
    for escape, character in ESCAPES.items():
        text = text.replace(escape, character)
    return text
