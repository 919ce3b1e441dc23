"""JSON: an object on each line, or one array of objects, or one object that holds such an array.

Which of them is seen from the beginning of the file, not from its suffix. Objects may also go over several lines each,
or be side by side on one.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from framework.api import Row
from framework_plugins.formats.encodings import not_utf8
from framework_plugins.formats.formats.values import CHAT_ADVICE, json_type
from framework_plugins.formats.readers.find import DataFile
from framework_plugins.formats.readers.json_stream import Decoder, JsonStream, decoder_limit
from framework_plugins.formats.readers.opened import OpenFile

HEAD_BYTES = 1 << 20
"""Bytes of the first line, or of the first object, that are checked."""
MESSAGES = "messages"
"""A list with this name is a chat, also one of people whose messages have no role."""
SHOWN_FIELDS = 10
"""Fields of an object that a message names."""
LIST_OF_OBJECTS = re.compile(
    rb"""\{\s*(?:"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[^\s"\[\]{},]+)\s*,\s*)*"[^"\\]*"\s*:\s*\[\s*\{\s*(?!"(?:role|from)")"""
)
"""An object whose first fields are plain and the next is a list of objects, which are not the turns of a chat."""


def read(file: DataFile) -> Iterator[Row]:
    """Read the rows of a JSON file; blank lines are passed over."""
    return _reader(file)(file)


def _reader(file: DataFile) -> Callable[[DataFile], Iterator[Row]]:
    with OpenFile(file) as opened:
        opened.start()
        # At most a megabyte of a line: the file may be one line of many gigabytes.
        pieces = iter(lambda: opened.stream.readline(HEAD_BYTES), b"")
        first_line, second_line = itertools.islice(itertools.chain(filter(bytes.strip, pieces), (b"", b"")), 2)
    start = first_line.lstrip()
    if start.startswith(b"["):
        return _lines if _is_list_of_turns(file, start, second_line) else _array
    if not start.startswith(b"{") or not _is_object(file, start, second_line):
        return _lines
    return _objects if _has_several(file) else _object


def _has_several(file: DataFile) -> bool:
    """Whether an object ends near the beginning of the file and another one follows."""
    with OpenFile(file) as opened:
        opened.start()
        # The last character may be cut in the middle.
        head = opened.stream.read(HEAD_BYTES).decode(errors="ignore").lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        return False
    return head[end:].lstrip().startswith("{")


def _is_list_of_turns(file: DataFile, first_line: bytes, second_line: bytes) -> bool:
    """Whether each line is a list, not the file; a file with one line is, if its name says so."""
    if not second_line.lstrip().startswith(b"[") and (second_line or file.kind == ".json"):
        return False
    try:
        value = json.loads(first_line)
    except (ValueError, RecursionError):
        return False
    return bool(second_line) or _is_dialogue(value)


def _is_dialogue(value: Any) -> bool:
    """Whether a list holds the turns of a chat."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and not _is_row(turn) for turn in value)
    )


def _is_object(file: DataFile, first_line: bytes, second_line: bytes) -> bool:
    """Whether the first line begins an object that is the whole file, and no row."""
    if len(first_line) >= HEAD_BYTES and not first_line.endswith(b"\n"):
        return file.kind == ".json" and LIST_OF_OBJECTS.match(first_line) is not None
    try:
        value = json.loads(first_line)
    except json.JSONDecodeError as error:
        # An error at the very end says that the value is not complete, not that it is wrong.
        continues = error.pos >= len(first_line.rstrip())
        return continues and (first_line.rstrip()[-1:] in b"{[,:" or not second_line.lstrip().startswith(b"{"))
    except (ValueError, RecursionError):
        return False
    if file.kind != ".json" or second_line or not isinstance(value, dict) or not value or _has_turns(value):
        return False
    nested = all(isinstance(inner, dict) for inner in value.values())
    return nested or bool(_lists_of_rows(value)) or _is_table(value) or _is_pairs(value)


def _has_turns(value: Mapping[str, Any]) -> bool:
    """Whether an object is a row, for it holds the turns of a chat."""
    lists = ((name, inner) for name, inner in value.items() if isinstance(inner, list) and inner)
    return any(isinstance(inner[0], dict) and (name == MESSAGES or not _is_row(inner[0])) for name, inner in lists)


def _is_table(value: Mapping[str, Any]) -> bool:
    """Whether a value is a table written by its columns: lists of one length, none of objects."""
    lists = [inner for inner in value.values() if isinstance(inner, list) and inner and not isinstance(inner[0], dict)]
    return bool(lists) and len(lists) == len(value) and len({len(inner) for inner in lists}) == 1


def _is_pairs(value: Mapping[str, Any]) -> bool:
    """Whether the keys of an object are questions and its values are answers: names of fields do not end like that."""
    are_questions = all(name.rstrip().endswith(("?", ".", "!", ":")) for name in value)
    return are_questions and all(isinstance(inner, str) for inner in value.values())


def _lists_of_rows(value: Mapping[str, Any]) -> list[str]:
    return [name for name, inner in value.items() if isinstance(inner, list) and inner and _is_row(inner[0])]


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and not {"role", "from"} & value.keys()


def _lines(file: DataFile) -> Iterator[Row]:
    decoder = Decoder()
    with OpenFile(file) as opened:
        for line_number, line in opened.lines():
            if line.strip():
                yield from _line(file, line_number, line, decoder)


def _line(file: DataFile, line_number: int, line: bytes, decoder: Decoder) -> Iterator[Row]:
    where = file.where(line_number)
    try:
        text = line.rstrip(b"\r\n").decode()
        value = decoder.whole(text)
    except UnicodeDecodeError as error:
        yield Row({}, where, not_utf8(error))
    except json.JSONDecodeError as error:
        several = (
            list(_objects_on_line(file, line_number, text, decoder)) if text[error.pos : error.pos + 1] == "{" else []
        )
        problem = f"not valid JSON: {error.msg} at column {error.colno}"
        if text[error.pos :].strip() == ",":
            command = f"sed 's/,[[:space:]]*$//' {shlex.quote(str(file.path))} > fixed.jsonl"
            problem = f"a comma ends the line, and nothing is between the rows of such a file: {command}"
        yield from several or [Row({}, where, problem)]
    except (ValueError, RecursionError) as error:
        yield Row({}, where, f"not valid JSON: {decoder_limit(error)}")
    else:
        yield _row(file, where, value, decoder.problem)


def _objects_on_line(file: DataFile, line_number: int, text: str, decoder: Decoder) -> Iterator[Row]:
    """Read a line of objects with only white space between them; give none if it holds something else."""
    rows, at = list[Row](), 0
    while at < len(text):
        try:
            value, at = decoder.next(text, at)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict):
            return
        rows.append(_row(file, file.where(f"{line_number}, object {len(rows) + 1}"), value, decoder.problem))
        at += len(text) - at - len(text[at:].lstrip())
    yield from rows


def _objects(file: DataFile) -> Iterator[Row]:
    """Read objects that go over several lines each."""
    item_number = 0
    with OpenFile(file) as opened:
        stream = JsonStream(opened)
        while stream.peek():
            item_number += 1
            value = stream.value()
            yield _row(file, file.where(f"item {item_number}"), value, stream.decoder.problem)


def _array(file: DataFile) -> Iterator[Row]:
    with OpenFile(file) as opened:
        stream = JsonStream(opened)
        for item_number, value in enumerate(stream.items(), start=1):
            yield _row(file, file.where(f"item {item_number}"), value, stream.decoder.problem)
        stream.end()


def _object(file: DataFile) -> Iterator[Row]:
    """Read the one list of objects in an object. Whether there is a second one shows when the first was read."""
    names, list_name, kinds, people = list[str](), "", set[str](), False
    with OpenFile(file) as opened:
        stream = JsonStream(opened)
        for name in stream.fields():
            names.append(name)
            kinds.add(stream.peek())
            if stream.peek() != "[":
                stream.value()
                continue
            for item_number, value in enumerate(stream.items(), start=1):
                people |= item_number == 1 and name == MESSAGES and _is_row(value)
                if item_number == 1 and _is_row(value) and name != MESSAGES:
                    list_name = _check_single_list(file, list_name, name)
                if list_name == name:
                    yield _row(file, file.where(f"item {item_number}"), value, stream.decoder.problem)
        stream.end()
    if not list_name:
        suffix = f" and {len(names) - SHOWN_FIELDS} more" if len(names) > SHOWN_FIELDS else ""
        shown = ", ".join(names[:SHOWN_FIELDS]) + suffix
        problem = f"the file is one object, and none of its fields ({shown or 'none'}) is a list of rows: "
        if people:
            raise file.error(f"{problem}'{MESSAGES}' is {CHAT_ADVICE}")
        raise file.error(problem + _conversion_command(file, names, kinds))


def _conversion_command(file: DataFile, names: list[str], kinds: set[str]) -> str:
    """Say how to write a table that is one object as a row a line; `kinds` are the signs that its fields begin with."""
    if kinds == {'"'} and _is_pairs(dict.fromkeys(names, "")):
        rows = f"for q, a in json.load(open({str(file.path)!r})).items()"
        command = f"import json; [print(json.dumps({{'prompt': q, 'completion': a}})) {rows}]"
        return f'write a question and its answer a line, python -c "{command}" > rows.jsonl'
    if kinds == {"["}:
        table = "DataFrame(json.load(open(FILE)))"
    elif kinds == {"{"}:
        orient = "index" if all(name.isdigit() for name in names) else "columns"
        table = f"DataFrame.from_dict(json.load(open(FILE)), orient='{orient}')"
    else:
        return "write a row a line"
    table = table.replace("FILE", repr(str(file.path)))
    command = f"import json, pandas; pandas.{table}.to_json('rows.jsonl', orient='records', lines=True)"
    return f'write a row a line, python -c "{command}"'


def _check_single_list(file: DataFile, earlier: str, name: str) -> str:
    if earlier:
        choice = "train" if "train" in (earlier, name) else earlier
        command = f"import json; [print(json.dumps(row)) for row in json.load(open({str(file.path)!r}))[{choice!r}]]"
        raise file.error(
            f"the file has two lists of objects, '{earlier}' and '{name}': write each into a file of its own, "
            f'python -c "{command}" > {choice}.jsonl'
        )
    return name


def _row(file: DataFile, where: str, value: Any, problem: str) -> Row:
    if _is_dialogue(value):
        value = {"messages": value}
    if not isinstance(value, dict):
        description = json_type(value)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            command = f"import json; [print(json.loads(line)) for line in open({str(file.path)!r})]"
            description = f'text that holds one, written by json.dumps twice: python -c "{command}" > fixed.jsonl'
        return Row({}, where, f"a row is a JSON object with named fields, and this one is {description}")
    return Row({}, where, problem) if problem else Row(value, where)
