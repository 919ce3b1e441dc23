"""The sources of a plan, wrapped: what the code of one raises names it, in one line."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator, Mapping

from framework.api.protocols import Source
from framework.api.records import RawData, Row
from framework.util.errors import FrameworkError
from framework.util.guard import Guard, short_repr


def load(name: str, source: Source) -> RawData:
    """Return the data of a source.

    Raises:
        FrameworkError: it raises something, or returns something else.
    """
    with naming(name):
        raw = source.load()
    return named(name, "load", raw)


def check(name: str, source: Source) -> RawData | None:
    """Return the rows that a source can give at once.

    Raises:
        FrameworkError: as for `load`.
    """
    with naming(name):
        raw = source.check()
    return None if raw is None else named(name, "check", raw)


def named(name: str, method: str, raw: object) -> RawData:
    """Return the rows that a method of a source returned, wrapped.

    Raises:
        FrameworkError: it returned something else.
    """
    if not isinstance(raw, RawData):
        raise FrameworkError(
            f"data={name}: {method} returned {short_repr(raw)}: return RawData(train=[Row(fields, where), …])"
        )
    train, validation, prompts = (NamedRows(name, rows) for rows in (raw.train, raw.validation, raw.prompts))
    return dataclasses.replace(raw, train=train, validation=validation, prompts=prompts)


def naming(name: str) -> Guard:
    """Return the prefix that names the source in an error of its code."""
    return Guard(f"data={name}: the source failed", GeneratorExit)  # a reader may stop before the last row


class NamedRows(Iterable[Row]):
    """Rows of a source."""

    def __init__(self, name: str, rows: Iterable[Row]) -> None:
        self.name = name
        self.rows = rows

    def __iter__(self) -> Iterator[Row]:
        """Read the rows.

        Raises:
            FrameworkError: reading cannot continue, or something is not a row.
        """
        with naming(self.name):
            for row in self.rows:
                if not isinstance(row, Row):
                    raise FrameworkError(
                        f"data={self.name}: the source gave the row {short_repr(row)}: make each a Row(fields, where)"
                    )
                if not isinstance(row.fields, Mapping):
                    raise FrameworkError(
                        f"data={self.name}: the source gave a row with fields={short_repr(row.fields)}: give a dict"
                    )
                yield row

    def __length_hint__(self) -> int:
        """Return about how many rows there are, if that is known."""
        hint = operator.length_hint(self.rows, -1)
        return NotImplemented if hint < 0 else hint
