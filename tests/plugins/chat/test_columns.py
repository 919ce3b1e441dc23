"""chat/columns.py: texts side by side, as a terminal shows them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from framework_plugins.chat.columns import COLUMN_GAP, THINKING, THINKING_AFTER, Column, TerminalColumns, column_width


def screen(out: io.StringIO) -> list[str]:
    """Return what is on a terminal, without the heading: a carriage return writes a line over."""
    lines = []
    for line in out.getvalue().split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown)
    return lines[2:]


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.rstrip() for cell in line.split(COLUMN_GAP)] for line in lines if line]


def grown(column: Column, text: str) -> list[str]:
    for letter in text:
        column.add(letter)
    column.end()
    return column.lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("short", ["short"]),
        ("one two three", ["one two", "three"]),
        ("one\n\ntwo\n", ["one", "", "two"]),
        ("abcdefghijklmn", ["abcdefgh", "ijklmn"]),
        ("12345678 90", ["12345678", "90"]),
        ("日本語日本語", ["日本語日", "本語"]),
        ("  indented so", ["  indent", "ed so"]),
    ],
)
def test_a_column_breaks_at_spaces_where_it_can(text: str, lines: list[str]) -> None:
    assert grown(Column(8), text) == lines


@given(st.text(alphabet="ab c\n日🙂", max_size=60), st.integers(4, 12))
def test_no_line_is_wider_than_its_column_and_no_letter_is_lost(text: str, width: int) -> None:
    lines = grown(Column(width), text)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_rows_are_written_when_both_have_come_so_far() -> None:
    out = io.StringIO()
    columns = TerminalColumns(out, 10, ["base", "tuned"])
    columns.add(0, "one two three four")
    assert cells(screen(out)) == [["one two", ""]]
    columns.add(1, "yes")
    assert cells(screen(out)) == [["one two", "yes"]]
    columns.add(1, "\nno")
    assert cells(screen(out)) == [["one two", "yes"], ["three four", "no"]]
    columns.end(0)
    columns.end(1)
    assert cells(screen(out)) == [["one two", "yes"], ["three four", "no"]]
    assert out.getvalue().endswith("\n")
    assert out.getvalue().splitlines()[0].split(COLUMN_GAP)[0] == "base      "


@given(st.lists(st.tuples(st.integers(0, 1), st.text(alphabet="ab \n", max_size=9)), max_size=20))
def test_whatever_the_order_the_screen_shows_both_texts(pieces: list[tuple[int, str]]) -> None:
    out = io.StringIO()
    columns = TerminalColumns(out, 6, ["base", "tuned"])
    for number, piece in pieces:
        columns.add(number, piece)
    for number in (0, 1):
        columns.end(number)
    wanted = [grown(Column(6), "".join(piece for owner, piece in pieces if owner == number)) for number in (0, 1)]
    shown = [line.split(COLUMN_GAP) for line in screen(out)[:-1]]
    for number in (0, 1):
        lines = [row[number].rstrip() for row in shown]
        assert lines[: len(wanted[number])] == [line.rstrip() for line in wanted[number]]
        assert not any(lines[len(wanted[number]) :])


def test_a_model_that_thinks_for_long_is_reported() -> None:
    out = io.StringIO()
    columns = TerminalColumns(out, 12, ["base", "tuned"])
    for _ in range(THINKING_AFTER):
        columns.add(1, "")
    assert cells(screen(out)) == [["", THINKING]]
    columns.add(1, "So.")
    assert cells(screen(out)) == [["", "So."]]


def test_a_narrow_terminal_has_no_room_for_columns() -> None:
    assert column_width(100, 2) == 48
    assert 2 * column_width(100, 2) + len(COLUMN_GAP) < 100
    assert column_width(51, 2) == 0
