"""A JSON text in pieces of any size is decoded as it is whole, and errors have line and column."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import FrameworkError
from framework_plugins.formats.readers import json_stream
from framework_plugins.formats.readers.json_stream import JsonStream, first_duplicate
from framework_plugins.formats.readers.opened import OpenFile
from tests.support.data_files import data_file, written

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)

STYLES: list[dict[str, Any]] = [{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}]


def items(path: Path) -> list[Any]:
    with OpenFile(data_file(path)) as opened:
        stream = JsonStream(opened)
        found = list(stream.items())
        stream.end()
    return found


@settings(deadline=None)  # of files
@given(
    values=st.lists(VALUES, max_size=8),
    size=st.integers(1, 40),
    style=st.sampled_from(STYLES),
)
def test_an_array_is_decoded_alike_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], size: int, style: dict[str, Any]
) -> None:
    text = json.dumps(values, **style)
    file = written(tmp_path_factory.getbasetemp(), "pieces.json", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", size)
        assert items(file) == values


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'[{"a": 1},\n {"a": }]', "a.json:2: not valid JSON: Expecting value at column 8"),
        (
            b'[{"a": 1},\n {"a": tru}, {"a": "some more text behind it, and more"}]',
            "a.json:2: not valid JSON: Expecting value at",
        ),
        (b'[{"a": 1},\n\n{"a": 2}\n {"a": 3}]', "a.json:4: not valid JSON: ',' or ']' expected at column 2"),
        (
            b'[{"a": 1},\n{"a": 2}',
            "a.json:2: not valid JSON: ',' or ']' expected at column 9; the file ends here: was it ",
        ),
        (
            b'[{"a": 1},\n{"a": 2',
            "a.json:2: not valid JSON: Expecting ',' delimiter at column 8; the file ends here: was it ",
        ),
        (b"[1, 2]\n[3]", "a.json:2: not valid JSON: there is text after its end at column 1"),
        (b'[1,\n2,\n"\xfc\xfc"]', "a.json:3: not UTF-8 (invalid start byte): if Excel or Windows wrote it"),
        (b'[1,\n"\xc3', "a.json:2: not UTF-8 (unexpected end of data): if Excel"),
        (b"[" * 100_000, "a.json:1: not valid JSON: nested too deeply at column "),
        (b"[\n" + b"1" * 5000 + b"]", "a.json:2: not valid JSON: a number with thousands of digits at column 1"),
    ],
)
def test_what_is_wrong_is_reported_with_line_and_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, text: str, size: int
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", size)
    with pytest.raises(FrameworkError) as caught:
        items(written(tmp_path, "a.json", content))
    assert text in str(caught.value)


@given(st.lists(st.sampled_from("abcd")))
def test_the_first_name_that_was_there_before_is_found(names: list[str]) -> None:
    found = first_duplicate(names)
    if not found:
        assert len(set(names)) == len(names)
    else:
        first = [number for number, name in enumerate(names) if name == found][1]
        assert len(set(names[:first])) == first
