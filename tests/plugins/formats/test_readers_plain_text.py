"""Plain text is a row for each line, each paragraph or each file."""

from pathlib import Path

import pytest

from framework.api.records import Row
from framework_plugins.formats.config import SampleBy
from tests.support.data_files import rows_of, written

CONTENT = "\ufeff\n one\u2028x \r\ntwo\r\n\r\n \r\nthree\r\n\r\n"


@pytest.mark.parametrize(
    ("sample_by", "rows"),
    [
        (SampleBy.line, [(2, " one\u2028x "), (3, "two"), (6, "three")]),
        (SampleBy.paragraph, [(2, " one\u2028x \ntwo"), (6, "three")]),
        (SampleBy.document, [(2, " one\u2028x \ntwo\n\n \nthree")]),
    ],
)
def test_a_row_is_what_is_asked_for(tmp_path: Path, sample_by: SampleBy, rows: list[tuple[int, str]]) -> None:
    found = rows_of(written(tmp_path, "a.txt", CONTENT), sample_by)
    assert found == [Row({"text": text}, f"a.txt:{number}") for number, text in rows]


@pytest.mark.parametrize("sample_by", SampleBy)
def test_blank_text_has_no_rows(tmp_path: Path, sample_by: SampleBy) -> None:
    assert rows_of(written(tmp_path, "a.txt", "\n \r\n\t\n"), sample_by) == []
    assert rows_of(written(tmp_path, "a.txt", ""), sample_by) == []


@pytest.mark.parametrize(("sample_by", "good"), [(SampleBy.line, 3), (SampleBy.paragraph, 1), (SampleBy.document, 0)])
def test_a_row_that_is_not_utf8_is_bad_with_its_line(tmp_path: Path, sample_by: SampleBy, good: int) -> None:
    rows = rows_of(written(tmp_path, "a.txt", b"one\n\ntwo\nth\xfcree\nfour\n"), sample_by)
    bad = [row for row in rows if row.problem]
    assert len(rows) - len(bad) == good
    assert [row.where for row in bad] == ["a.txt:4"]
    assert bad[0].problem.startswith("not UTF-8 (")
