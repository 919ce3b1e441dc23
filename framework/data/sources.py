"""The sources of a plan, wrapped: what the code of one raises names it, in one line."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from framework.api.plan import Selection
from framework.api.protocols import CheckedSource, Source
from framework.api.records import RawData, Row
from framework.util.errors import FrameworkError, error_location, summarize_error
from framework.util.files import write_failure


def load(choice: Selection, source: Source) -> RawData:
    """Return what a source loads.

    Raises:
        FrameworkError: it raises something, or returns something else.
    """
    with naming(choice):
        raw = source.load()
    return _named(choice, "load", raw)


def check(choice: Selection, source: CheckedSource) -> RawData | None:
    """Return the rows that a source can give at once.

    Raises:
        FrameworkError: as for `load`.
    """
    with naming(choice):
        raw = source.check()
    return None if raw is None else _named(choice, "check", raw)


def _named(choice: Selection, what: str, raw: object) -> RawData:
    if not isinstance(raw, RawData):
        raise FrameworkError(f"{_name(choice)}: {what} returned {type(raw).__name__}, not RawData")
    train, validation, prompts = (NamedRows(choice, rows) for rows in (raw.train, raw.validation, raw.prompts))
    return dataclasses.replace(raw, train=train, validation=validation, prompts=prompts)


@contextmanager
def naming(choice: Selection) -> Iterator[None]:
    """Name the source in an error of its code, unless it is a `FrameworkError`, or about a full disk.

    Raises:
        FrameworkError: instead of that.
    """
    try:
        yield
    except (FrameworkError, MemoryError):
        raise
    except Exception as error:
        if write_failure(error):
            raise
        raise FrameworkError(
            f"{_name(choice)}: the source failed: {summarize_error(error)}{error_location(error)}"
        ) from error


def _name(choice: Selection) -> str:
    return f"data={choice.component.name}"


class NamedRows(Iterable[Row]):
    """Rows of a source."""

    def __init__(self, choice: Selection, rows: Iterable[Row]) -> None:
        self.choice = choice
        self.rows = rows

    def __iter__(self) -> Iterator[Row]:
        """Read the rows.

        Raises:
            FrameworkError: reading cannot continue, or something is not a row.
        """
        with naming(self.choice):
            for row in self.rows:
                if not isinstance(row, Row):
                    raise FrameworkError(f"{_name(self.choice)}: the source gave {type(row).__name__}, not a Row")
                yield row

    def __length_hint__(self) -> int:
        """Return about how many rows there are, if that is known."""
        known = operator.length_hint(self.rows, -1)
        return NotImplemented if known < 0 else known
