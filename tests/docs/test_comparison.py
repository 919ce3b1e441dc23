"""The table of other tools is that of its data file, and each of our own cells names a file that exists."""

from __future__ import annotations

from typing import Any

import yaml

from tests.docs.test_docs import ROOT
from tests.support.comparison_page import DATA, PAGE, page

ROWS: dict[str, dict[str, list[str]]] = yaml.safe_load(DATA.read_text(encoding="utf-8"))["rows"]


def test_the_page_has_the_table_of_the_data() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run `make reference`"


def test_each_cell_of_this_program_names_a_file_that_exists() -> None:
    named: dict[str, Any] = {subject: cells["framework"][1] for subject, cells in ROWS.items()}
    assert {subject: file for subject, file in named.items() if file and not (ROOT / file).exists()} == {}


def test_each_cell_of_another_tool_says_what_shows_it_or_that_nobody_looked() -> None:
    bare = [
        (subject, tool)
        for subject, cells in ROWS.items()
        for tool, (text, shown) in cells.items()
        if tool != "framework" and (text == "not checked") != (not shown)
    ]
    assert bare == []
