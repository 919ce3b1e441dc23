"""JSON: an object on each line, or one array of objects, or one object that holds such an array.

Which of them is seen from the beginning of the file, not from its suffix.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from framework.api.records import Row
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.json_stream import Decoder, JsonStream, beyond
from framework_plugins.formats.readers.opened import Opened, not_utf8

HEAD = 1 << 20
"""Bytes of the first line that are checked."""
LIST_OF_OBJECTS = re.compile(
    rb"""\{\s*(?:"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[^\s"\[\]{},]+)\s*,\s*)*"[^"\\]*"\s*:\s*\[\s*\{\s*(?!"(?:role|from)")"""
)
"""An object whose first fields are plain and the next is a list of objects, which are not the turns of a chat."""


def read(file: DataFile) -> Iterator[Row]:
    """Read the rows of a JSON file; blank lines are passed over."""
    return _reader(file)(file)


def _reader(file: DataFile) -> Callable[[DataFile], Iterator[Row]]:
    with Opened(file) as opened:
        opened.start()
        pieces = iter(lambda: opened.stream.readline(HEAD), b"")
        first, second = itertools.islice(itertools.chain(filter(bytes.strip, pieces), (b"", b"")), 2)
    start = first.lstrip()
    if start.startswith(b"["):
        return _array
    return _object if start.startswith(b"{") and _is_object(file, start, second) else _lines


def _is_object(file: DataFile, first: bytes, second: bytes) -> bool:
    """Whether the first line begins an object that is the whole file, and no row."""
    if len(first) >= HEAD and not first.endswith(b"\n"):
        return file.kind == ".json" and LIST_OF_OBJECTS.match(first) is not None
    try:
        value = json.loads(first)
    except json.JSONDecodeError as error:
        continues = error.pos >= len(first.rstrip())
        return continues and (first.rstrip()[-1:] in b"{[,:" or not second.lstrip().startswith(b"{"))
    except (ValueError, RecursionError):
        return False
    return file.kind == ".json" and not second and isinstance(value, dict) and len(_lists_of_rows(value)) == 1


def _lists_of_rows(value: Mapping[str, Any]) -> list[str]:
    return [name for name, inner in value.items() if isinstance(inner, list) and inner and _is_row(inner[0])]


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and not {"role", "from"} & value.keys()


def _lines(file: DataFile) -> Iterator[Row]:
    decoder = Decoder()
    with Opened(file) as opened:
        for number, line in opened.lines():
            if line.strip():
                yield _line(file.where(number), line, decoder)


def _line(where: str, line: bytes, decoder: Decoder) -> Row:
    try:
        value = decoder.whole(line.rstrip(b"\r\n").decode())
    except UnicodeDecodeError as error:
        return Row({}, where, not_utf8(error))
    except json.JSONDecodeError as error:
        return Row({}, where, f"no JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Row({}, where, f"no JSON: {beyond(error)}")
    return _row(where, value, decoder.duplicate)


def _array(file: DataFile) -> Iterator[Row]:
    with Opened(file) as opened:
        stream = JsonStream(opened)
        for number, value in enumerate(stream.items(), start=1):
            yield _row(file.where(f"item {number}"), value, stream.decoder.duplicate)
        stream.end()


def _object(file: DataFile) -> Iterator[Row]:
    """Read the one list of objects in an object. Whether there is a second one shows when the first was read."""
    names, list_name = list[str](), ""
    with Opened(file) as opened:
        stream = JsonStream(opened)
        for name in stream.fields():
            names.append(name)
            if stream.peek() != "[":
                stream.value()
                continue
            for number, value in enumerate(stream.items(), start=1):
                if number == 1 and _is_row(value):
                    list_name = _only(file, list_name, name)
                if list_name == name:
                    yield _row(file.where(f"item {number}"), value, stream.decoder.duplicate)
        stream.end()
    if not list_name:
        fields = ", ".join(names) or "none"
        raise file.error(
            f"the file is one object, and none of its fields ({fields}) is a list of rows: write a row a line"
        )


def _only(file: DataFile, earlier: str, name: str) -> str:
    if earlier:
        raise file.error(
            f"the file has two lists of objects, '{earlier}' and '{name}': write each into a file of its own"
        )
    return name


def _row(where: str, value: Any, duplicate: str) -> Row:
    if not isinstance(value, dict):
        return Row({}, where, f"a row is a JSON object with named fields, this one is a {type(value).__name__}")
    if duplicate:
        return Row({}, where, f"the key '{duplicate}' stands twice in one object")
    return Row(value, where)
