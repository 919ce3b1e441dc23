"""CSV and TSV, record by record; a record may go over several lines."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator

from framework import FrameworkError
from framework.api import Row
from framework_plugins.formats.encodings import encoding_of, not_utf8
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.json_stream import first_duplicate
from framework_plugins.formats.readers.opened import OpenFile

DELIMITERS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t",)}
"""The separators of a kind, the usual one first: spreadsheets of many languages write a semicolon."""
QUOTED_CELL = re.compile(r'(?:^|(?<=[,;\t|]))"(?:[^"]|"")*(?:"|\Z)')
"""A cell in quotation marks, in which a separator is text; the last may continue on the next line."""


def read(file: DataFile) -> Iterator[Row]:
    """Read the rows of a table whose first record names the columns; empty lines are passed over.

    Raises:
        FrameworkError: the text is not UTF-8, two columns have one name, or a quotation does not end.
    """
    csv.field_size_limit(file.longest)  # of the process: each file sets its own
    with OpenFile(file) as opened:
        columns = list[str]()
        for line, cells in _records(file, opened):
            if not columns:
                columns = _column_names(file, line, cells)
            elif isinstance(cells, str):
                yield Row({}, file.where(line), cells)
            elif len(cells) == len(columns):
                yield Row(dict(zip(columns, cells, strict=True)), file.where(line))
            else:
                cell, column = ("" if len(sequence) == 1 else "s" for sequence in (cells, columns))
                problem = f"{len(cells)} cell{cell} under {len(columns)} column{column}"
                yield Row({}, file.where(line), problem)


def _column_names(file: DataFile, line: int, cells: list[str] | str) -> list[str]:
    if isinstance(cells, str):
        raise file.error(cells, line)
    names = [cell.strip() for cell in cells]
    if twice := first_duplicate(names):
        raise file.error(f"two columns are called '{twice}': give each a name of its own", line)
    return names


def _records(file: DataFile, opened: OpenFile) -> Iterator[tuple[int, list[str] | str]]:
    """Give the first line of each record with its cells, or with its problem."""
    reader = csv.reader(_decoded_lines(file, opened), delimiter=_delimiter(file), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "new-line character" in str(error):
                raise _carriage_returns(file) from error
            yield line, _problem_text(error)
        else:
            if len(cells) > 1 or "".join(cells).strip():
                yield line, cells


def _carriage_returns(file: DataFile) -> FrameworkError:
    """Return the error for a line that ends with a carriage return only, as spreadsheets on older Macs write it."""
    path = shlex.quote(str(file.path))
    return file.error(
        rf"lines end with a carriage return only (CR): write line feeds, tr '\r' '\n' < {path} > fixed{file.kind}", 1
    )


def _problem_text(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "not valid CSV: a quoted field that begins here does not end"
    inside = " (a quotation mark inside a quoted field is written twice)" if "expected after" in str(error) else ""
    return f"not valid CSV: {error}{inside}"


def _delimiter(file: DataFile) -> str:
    choices = DELIMITERS[file.kind]
    with OpenFile(file) as opened:
        header = next((line for line in _decoded_lines(file, opened) if line.strip()), "")
    # A quoted name may hold any separator.
    outside = QUOTED_CELL.sub("", header)
    return max(choices, key=outside.count)  # the first of those that occur as often


def _decoded_lines(file: DataFile, opened: OpenFile) -> Iterator[str]:
    for line_number, line in opened.lines():
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise file.error(not_utf8(error), line_number, encoding_of(error)) from error
