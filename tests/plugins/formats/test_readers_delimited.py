"""Tables of text are read record by record, and a record that does not fit its columns is a bad row."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.records import Row
from tests.support.data_files import rows_of, written

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)


@settings(deadline=None)  # of files
@given(
    rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6),
    name=st.sampled_from(["t.csv", "t.tsv", "semicolon.csv"]),
    end=st.sampled_from(["\n", "\r\n"]),
    dialect=st.sampled_from([csv.excel, csv.unix_dialect]),
)
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    name: str,
    end: str,
    dialect: type[csv.Dialect],
) -> None:
    text = io.StringIO(newline="")
    delimiter = {"t.csv": ",", "t.tsv": "\t"}.get(name, ";")
    writer = csv.writer(text, dialect, delimiter=delimiter, lineterminator=end)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    found = rows_of(written(tmp_path_factory.getbasetemp(), name, text.getvalue()))
    assert [(row.fields, row.problem) for row in found] == [({"a": a, "b": b}, "") for a, b in rows]


def test_rows_are_read_with_the_line_where_they_begin(tmp_path: Path) -> None:
    content = '\ufeff\n a , b\n1,"x\n\ny"\n\n  \n2,\n'
    assert rows_of(written(tmp_path, "t.csv", content)) == [
        Row({"a": "1", "b": "x\n\ny"}, "t.csv:3"),
        Row({"a": "2", "b": ""}, "t.csv:8"),
    ]


def test_a_table_may_have_one_column_and_a_column_without_a_name(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, "t.csv", "text\none\n\ntwo\n"))[1] == Row({"text": "two"}, "t.csv:4")
    assert rows_of(written(tmp_path, "t.csv", ",a\n0,x\n")) == [Row({"": "0", "a": "x"}, "t.csv:2")]


def test_records_that_do_not_fit_are_bad_rows_and_the_others_are_read(tmp_path: Path) -> None:
    rows = rows_of(written(tmp_path, "t.csv", 'a,b\n1\n1,2,3\n"x"y,2\n4,5\n6,"open\n'))
    assert [(row.where, row.problem) for row in rows] == [
        ("t.csv:2", "1 cell under 2 columns"),
        ("t.csv:3", "3 cells under 2 columns"),
        ("t.csv:4", "not valid CSV: ',' expected after '\"' (a quotation mark inside a quoted field is written twice)"),
        ("t.csv:5", ""),
        ("t.csv:6", "not valid CSV: a quoted field that begins here does not end"),
    ]
    assert rows[3].fields == {"a": "4", "b": "5"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a,b,a\n1,2,3\n", "t.csv:1: two columns are called 'a': give each a name of its own"),
        (b"\n\na, a\n", "t.csv:3: two columns are called 'a'"),
        (b'"a"b,c\n1,2\n', "t.csv:1: not valid CSV: "),
        (
            b"a,b\n1,2\n3,\xe4\n",
            "t.csv:3: not UTF-8 (invalid continuation byte): if Excel or Windows wrote it, set data.",
        ),
    ],
    ids=["columns", "columns later", "header", "not UTF-8"],
)
def test_a_table_that_cannot_be_read_is_reported_with_the_line(tmp_path: Path, content: bytes, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        rows_of(written(tmp_path, "t.csv", content))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ('"instruction";"output, final"\n1;2', {"instruction": "1", "output, final": "2"}),
        ('"a;b",c\n1,2', {"a;b": "1", "c": "2"}),
        ('"say ""a, b"", or not";c\n1;2', {'say "a, b", or not': "1", "c": "2"}),
        ('"a,b"\tc\n1\t2', {"a,b": "1", "c": "2"}),
        ("id;question;answer, final\n1;2;3", {"id": "1", "question": "2", "answer, final": "3"}),
        ('a|"b|c, d"\n1|2', {"a": "1", "b|c, d": "2"}),
        ('5" disk,b\n1,2', {'5" disk': "1", "b": "2"}),
        ('"a;b"\n1', {"a;b": "1"}),
    ],
)
def test_the_separator_is_what_stands_between_the_names_of_the_columns(
    tmp_path: Path, table: str, fields: dict[str, str]
) -> None:
    assert rows_of(written(tmp_path, "t.csv", table)) == [Row(fields, "t.csv:2")]


@pytest.mark.parametrize("content", ["", "\n \n", "a,b\n", "a,b"])
def test_a_table_without_records_has_no_rows(tmp_path: Path, content: str) -> None:
    assert rows_of(written(tmp_path, "t.csv", content)) == []


def test_a_cell_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    assert rows_of(written(tmp_path, "t.csv", f'a,b\n"{long}",1\n'))[0].fields == {"a": long, "b": "1"}
