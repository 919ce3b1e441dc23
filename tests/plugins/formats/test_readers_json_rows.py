"""JSON is read as lines, as an array or as an object around one, whatever the suffix says."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.records import Row
from tests.support.data_files import rows_of, written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CHAT = '{"messages": [{"role": "user", "content": "x"}]}'
SHAREGPT = '{"conversations": [{"from": "human", "value": "x"}]}'


@settings(deadline=None)  # of files
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
    for name in ("drawn.jsonl", "drawn.json"):
        for content in (lines, lines + end, array, array.replace("\n", end)):
            if name == "drawn.json" and len(values) == 1 and content in {lines, lines + end}:
                continue  # one object in a .json may be a wrapper
            assert [row.fields for row in rows_of(written(folder, name, content))] == values


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('\ufeff{"a": 1}\n', [({"a": 1}, "rows.jsonl:1")]),
        ('\n{"a": 1}\n  \n\n{"a": 2}\n\n', [({"a": 1}, "rows.jsonl:2"), ({"a": 2}, "rows.jsonl:5")]),
        (
            '{"a": "x\u2028y\x85z"}\n{"a": "\u2029"}',
            [({"a": "x\u2028y\x85z"}, "rows.jsonl:1"), ({"a": "\u2029"}, "rows.jsonl:2")],
        ),
        (' \n[{"a": 1}, {"a": 2}]', [({"a": 1}, "rows.jsonl:item 1"), ({"a": 2}, "rows.jsonl:item 2")]),
        ('\ufeff[{"a": null}]', [({"a": None}, "rows.jsonl:item 1")]),
        (CHAT, [(json.loads(CHAT), "rows.jsonl:1")]),
        ('{"data": [{"a": 1}]}', [({"data": [{"a": 1}]}, "rows.jsonl:1")]),
        ('{\n"data": [\n{"a": 1}\n]\n}\n', [({"a": 1}, "rows.jsonl:item 1")]),
        ("", []),
        ("\ufeff", []),
        (" \n\n\t\n", []),
        ("[]", []),
        ("[ \n ]\n", []),
    ],
)
def test_rows_are_read_with_their_places(tmp_path: Path, content: str, rows: list[tuple[dict[str, Any], str]]) -> None:
    assert rows_of(written(tmp_path, "rows.jsonl", content)) == [Row(fields, where) for fields, where in rows]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('{"data": [{"a": 1}, {"a": 2}]}', [{"a": 1}, {"a": 2}]),
        ('{"version": "1", "n": {"x": 1}, "tags": ["y", "z"], "data": [{"a": 1}], "end": null}', [{"a": 1}]),
        ('{"data": [{"a": 1}]}\n{"data": [{"a": 2}]}', [{"data": [{"a": 1}]}, {"data": [{"a": 2}]}]),
        (CHAT, [json.loads(CHAT)]),
        (SHAREGPT, [json.loads(SHAREGPT)]),
        ('{"a": 1}', [{"a": 1}]),
        ('{"data": [{"a": "' + "x" * (1 << 20) + '"}]}', [{"a": "x" * (1 << 20)}]),
        (SHAREGPT.replace("x", "x" * (1 << 20)), [json.loads(SHAREGPT.replace("x", "x" * (1 << 20)))]),
    ],
    ids=["one list", "beside others", "lines", "chat", "sharegpt", "a row", "long row", "long chat"],
)
def test_an_object_around_one_list_of_rows_is_looked_into(tmp_path: Path, content: str, rows: list[Any]) -> None:
    found = rows_of(written(tmp_path, "rows.json", content))
    assert [row.fields for row in found] == rows
    assert not any(row.problem for row in found)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("between", ["\n", "\n\n", " "])
def test_objects_that_go_over_several_lines_are_rows(tmp_path: Path, name: str, between: str) -> None:
    rows = [{"a": 1, "tools": [{"name": "f"}]}, {"a": "}\n{", "tools": []}, {"a": 3}]
    content = between.join(json.dumps(row, indent=2) for row in rows)
    found = rows_of(written(tmp_path, name, content))
    assert [(row.fields, row.where, row.problem) for row in found] == [
        (row, f"{name}:item {number}", "") for number, row in enumerate(rows, start=1)
    ]


def test_objects_side_by_side_on_a_line_are_rows(tmp_path: Path) -> None:
    content = '{"a": 1}\n{"a": 2} {"a": 3}{"a": 4}\n{"a": 5} [6]\n{"a": 7} {"a": \n'
    assert [(row.fields, row.where, row.problem) for row in rows_of(written(tmp_path, "rows.jsonl", content))] == [
        ({"a": 1}, "rows.jsonl:1", ""),
        ({"a": 2}, "rows.jsonl:2, object 1", ""),
        ({"a": 3}, "rows.jsonl:2, object 2", ""),
        ({"a": 4}, "rows.jsonl:2, object 3", ""),
        ({}, "rows.jsonl:3", "not valid JSON: Extra data at column 10"),
        ({}, "rows.jsonl:4", "not valid JSON: Extra data at column 10"),
    ]


TURNS = [[{"role": "user", "content": "say"}, {"role": "assistant", "content": text}] for text in ("it", "this")]


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("r.jsonl", "".join(f"{json.dumps(turns)}\n" for turns in TURNS), ["r.jsonl:1", "r.jsonl:2"]),
        ("r.jsonl", json.dumps(TURNS[0]), ["r.jsonl:1"]),
        ("r.json", json.dumps(TURNS), ["r.json:item 1", "r.json:item 2"]),
        ("r.json", json.dumps(TURNS, indent=1), ["r.json:item 1", "r.json:item 2"]),
    ],
)
def test_a_list_of_turns_is_a_row(tmp_path: Path, name: str, content: str, places: list[str]) -> None:
    found = rows_of(written(tmp_path, name, content))
    assert found == [Row({"messages": turns}, where) for turns, where in zip(TURNS, places, strict=False)]


def test_a_line_that_is_another_list_is_a_bad_row(tmp_path: Path) -> None:
    found = rows_of(written(tmp_path, "r.jsonl", '["a", "b"]\n["c", "d"]\n'))
    assert [(row.where, row.problem.partition(",")[0]) for row in found] == [
        ("r.jsonl:1", "a row is a JSON object with named fields"),
        ("r.jsonl:2", "a row is a JSON object with named fields"),
    ]


def test_a_conversation_with_tools_that_is_the_whole_file_is_a_row(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "say"}], "tools": [{"name": "f"}]}
    assert [found.fields for found in rows_of(written(tmp_path, "rows.json", json.dumps(row)))] == [row]


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (
            {"test": [{"a": 1}], "train": [{"a": 2}]},
            "import json; [print(json.dumps(row)) for row in json.load(open('rows.json'))['train']]",
        ),
        (
            {"a": ["x", "y"], "b": ["z", "w"]},
            "import json, pandas; pandas.DataFrame(json.load(open('rows.json'))).to_json('rows.jsonl', "
            "orient='records', lines=True)",
        ),
        (
            {"0": {"a": "x"}, "1": {"a": "y"}},
            "import json, pandas; pandas.DataFrame.from_dict(json.load(open('rows.json')), orient='index').to_json(",
        ),
        (
            {"a": {"0": "x", "1": "y"}},
            "import json, pandas; pandas.DataFrame.from_dict(json.load(open('rows.json')), orient='columns').to_json(",
        ),
        (
            {"Capital of Peru?": "Lima", "Capital of Chile?": "Santiago"},
            "import json; [print(json.dumps({'prompt': q, 'completion': a})) for q, a in json.load(open('rows.json'))",
        ),
    ],
    ids=["splits", "columns", "index", "columns of pandas", "pairs"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_table_that_is_one_object_is_refused_with_the_command_that_writes_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], command: str, indent: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "rows.json", json.dumps(content, indent=indent))
    with pytest.raises(FrameworkError) as caught:
        rows_of(Path("rows.json"))
    assert f'python -c "{command}' in str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": }', "not valid JSON: Expecting value at column 7"),
        (b'{"a": 1', "not valid JSON: Expecting ',' delimiter at column 8"),
        (b'"text"', "a row is a JSON object with named fields, and this one is text"),
        (b"null", "a row is a JSON object with named fields, and this one is null"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' appears twice in one object"),
        (b'{"a": [{"b": 1, "\\ud800": 1}]}', "the key '\\ud800' is not valid text: surrogates not allowed"),
        (b'{"a": "\xfc"}', "not UTF-8 (invalid start byte): if Excel or Windows wrote it, set data.encoding=cp1252"),
        (b'{"a":' * 100_000, "not valid JSON: nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON: a number with thousands of digits"),
    ],
    ids=["no value", "cut off", "text", "null", "key twice", "half a character", "not UTF-8", "nested", "digits"],
)
@pytest.mark.parametrize("first", [b"", b'{"a": 1}\n'], ids=["at first", "later"])
def test_a_line_that_is_no_row_is_a_bad_row_and_the_others_are_read(
    tmp_path: Path, first: bytes, line: bytes, problem: str
) -> None:
    rows = rows_of(written(tmp_path, "rows.jsonl", first + line + b'\n{"a": 2}\n'))
    number = 2 if first else 1
    assert rows[-2:] == [Row({}, f"rows.jsonl:{number}", problem), Row({"a": 2}, f"rows.jsonl:{number + 1}")]
    assert len(rows) == number + 1


def test_an_item_that_is_no_row_is_a_bad_row_and_the_others_are_read(tmp_path: Path) -> None:
    rows = rows_of(written(tmp_path, "rows.json", '[{"a": 1}, 2, {"a": 1, "a": 2}, {"a": 3}]'))
    assert [(row.fields, row.problem.split(",")[0]) for row in rows] == [
        ({"a": 1}, ""),
        ({}, "a row is a JSON object with named fields"),
        ({}, "the key 'a' appears twice in one object"),
        ({"a": 3}, ""),
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"x": [{"a": 1}],\n "y": [{"a": 2}]}', "rows.json: the file has two lists of objects, 'x' and 'y'"),
        (
            '{\n "a": 1,\n "b": []\n}',
            "rows.json: the file is one object, and none of its fields (a, b) is a list of rows",
        ),
        ("{\n}", "rows.json: the file is one object, and none of its fields (none) is a list of rows"),
        ('{\n "a": 1,\n 2: 3}', "rows.json:3: not valid JSON: '\"' expected at column 2"),
        ('{\n "a" 1}', "rows.json:2: not valid JSON: ':' expected at column 6"),
    ],
)
def test_an_object_that_is_no_list_of_rows_is_refused(tmp_path: Path, content: str, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        rows_of(written(tmp_path, "rows.json", content))
    assert text in str(caught.value)


def test_a_row_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    long = {"a": "ä" * 5_000_000}
    for name, content in (
        ("rows.jsonl", json.dumps(long) + '\n{"a": 1}\n'),
        ("rows.json", json.dumps([long, {"a": 1}], ensure_ascii=False)),
    ):
        assert [row.fields for row in rows_of(written(tmp_path, name, content))] == [long, {"a": 1}]


def test_a_packed_array_that_ends_early_is_reported_with_its_line(tmp_path: Path) -> None:
    rows = [{"a": f"{number * number:x}"} for number in range(200_000)]
    packed = gzip.compress(json.dumps(rows, indent=0).encode())
    with pytest.raises(FrameworkError, match=r"rows\.json\.gz:[1-9]\d{4,}: the file ends too early: was it copied or"):
        rows_of(written(tmp_path, "rows.json.gz", packed[:-1000]))


@pytest.mark.parametrize("indent", [None, 2])
def test_an_exported_chat_of_people_is_not_a_list_of_rows(tmp_path: Path, indent: int | None) -> None:
    chat = {"guild": {"name": "g"}, "messages": [{"id": "1", "author": {"name": "a"}, "text": "Hi"}]}
    file = written(tmp_path, "chat.json", json.dumps(chat, indent=indent).encode())
    if indent is None:
        assert [row.fields for row in rows_of(file)] == [chat]
    else:
        with pytest.raises(FrameworkError, match="'messages' is a chat between people, and the file does not say who"):
            rows_of(file)
