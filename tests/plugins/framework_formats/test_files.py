"""Local files are read line by line, and every refusal names file and line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.records import Row
from framework_formats.config import LocalFileConfig
from framework_formats.files import LocalFile, read_rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def written(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@given(
    values=st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_was_written_as_lines_or_as_an_array_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]], end: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    lines = end.join(json.dumps(value, ensure_ascii=False) for value in values)
    array = json.dumps(values, ensure_ascii=False, indent=1)
    for content in (lines, lines + end, array):
        assert [row.fields for row in read_rows(written(folder, content, "drawn.json"))] == values


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('\ufeff{"a": 1}\n', [({"a": 1}, "rows.jsonl:1")]),
        ('\n{"a": 1}\n  \n\n{"a": 2}\n\n', [({"a": 1}, "rows.jsonl:2"), ({"a": 2}, "rows.jsonl:5")]),
        (
            '{"a": "x\u2028y\x85z"}\n{"a": "\x0c"}'.replace("\x0c", "\u2029"),
            [({"a": "x\u2028y\x85z"}, "rows.jsonl:1"), ({"a": "\u2029"}, "rows.jsonl:2")],
        ),
        (' \n[{"a": 1}, {"a": 2}]', [({"a": 1}, "rows.jsonl:item 1"), ({"a": 2}, "rows.jsonl:item 2")]),
        ("", []),
        ("[]", []),
    ],
    ids=["byte order mark", "blank lines", "line separators in text", "array", "empty file", "empty array"],
)
def test_rows_are_read_with_their_places(tmp_path: Path, content: str, rows: list[tuple[dict[str, Any], str]]) -> None:
    assert read_rows(written(tmp_path, content)) == [Row(fields, where) for fields, where in rows]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"a": 1}\n\n{"a": }\n', "rows.jsonl:3: no JSON: Expecting value at column 7"),
        ('[{"a": 1},\n {"a": }]', "rows.jsonl:2: no JSON: Expecting value at column 8"),
        ('{"a": 1}\n"text"\n', "rows.jsonl:2: a row is a JSON object with named fields, this one is a str"),
        ('[{"a": 1}, null]', "rows.jsonl:item 2: a row is a JSON object with named fields, this one is a NoneType"),
        (b'{"a": 1}\n{"a": "\xfc"}\n', "rows.jsonl:2: not UTF-8 (invalid start byte); convert it: iconv"),
    ],
    ids=["line", "array", "no object", "no object in array", "not UTF-8"],
)
def test_a_file_that_cannot_be_read_is_told_with_the_line(tmp_path: Path, content: str | bytes, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        read_rows(written(tmp_path, content))
    assert text in str(caught.value)


def test_a_file_of_another_kind_is_refused_with_the_kinds_there_are(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"rows\.csv is of no kind that data=local_file reads: \.jsonl, \.json, "):
        read_rows(written(tmp_path, "a,b", "rows.csv"))


def test_a_missing_file_is_told_with_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.json", "note.txt"):
        written(tmp_path, "", name)
    with pytest.raises(FrameworkError, match=r"there is no data file .*/row\.jsonl\. Beside it: a\.json, b\.jsonl\.$"):
        read_rows(tmp_path / "row.jsonl")
    with pytest.raises(FrameworkError, match=r"there is no data file .*/no/row\.jsonl\.$"):
        read_rows(tmp_path / "no" / "row.jsonl")


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="there is no data file"):
        read_rows(tmp_path)


def test_files_for_validation_and_prompts_are_read_where_given(tmp_path: Path) -> None:
    paths = [str(written(tmp_path, f'{{"a": {number}}}', f"{number}.jsonl")) for number in range(3)]
    raw = LocalFile(LocalFileConfig(path=paths[0])).load()
    assert (len(raw.train), raw.validation, raw.prompts) == (1, [], [])
    raw = LocalFile(LocalFileConfig(path=paths[0], validation_path=paths[1], prompts_path=paths[2])).load()
    assert [[row.fields["a"] for row in rows] for rows in (raw.train, raw.validation, raw.prompts)] == [[0], [1], [2]]
