"""The data as the terminal shows them: facts, findings, and rows with what is learned marked."""

import dataclasses
import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console as Terminal
from rich.table import Table

from framework.api.records import Piece, ViewedRow
from framework_plugins.trackers import console_data
from tests.support.results import AMISS, EVEN, FITTING, SCRIPT


def printed(show: Callable[[Terminal], None], *, colours: bool = False, width: int = 80) -> str:
    out = Terminal(
        file=io.StringIO(), width=width, force_terminal=colours, color_system="standard" if colours else None
    )
    show(out)
    return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("histogram", "beyond", "drawn"),
    [
        ([0, 10, 320], 0, "1 ·▁█ 114 tokens"),
        ([1, 0, 0], 1, "1 █·· 114 tokens; 1 row is longer, up to 8,200"),
        ([4, 2, 1], 2, "1 █▅▃ 114 tokens; 2 rows are longer, up to 8,200"),
    ],
)
def test_the_lengths_are_drawn_in_a_line(histogram: list[int], beyond: int, drawn: str) -> None:
    lengths = dataclasses.replace(FITTING, histogram=histogram, beyond=beyond, longest=8200)
    data = dataclasses.replace(EVEN, lengths=lengths)
    assert console_data.histogram(data) == drawn
    assert console_data.facts(data)["lengths"].plain.endswith(f"\n{drawn}")


def test_facts_that_ask_for_attention_are_coloured_and_keep_their_examples() -> None:
    facts = console_data.facts(AMISS)
    assert facts["bad rows"].plain.splitlines()[-1] == "and 11 more"
    styles = {name: str(text.spans[0].style) if text.spans else "" for name, text in facts.items()}
    assert {name for name, style in styles.items() if style == "yellow"} == {
        "format", "mixed in", "bad rows", "proof", "too long",
    }  # fmt: skip


def test_findings_have_advice_and_three_examples_of_a_line_each_and_notes_are_short() -> None:
    text = printed(lambda out: console_data.show_findings(out, AMISS.findings, ["standard"]), width=60)
    assert text.splitlines() == [
        "audit: 1 serious, 1 warning, 1 note",
        "serious  contradictions: 12 rows ask the same and answer",
        "         differently",
        "         → Decide which answer is right",
        f"           a.jsonl:12: Name it {SCRIPT}",
        "           a.jsonl:13: x",
        "           a.jsonl:14: y",
        "warning  duplicates: 40 rows are twice there",
        "         → Remove them",
        "           a.jsonl:3: \\x1b[31mred",
        "note     languages: 30 rows are Cyrillic",
    ]


def test_a_run_names_its_notes_and_leaves_out_facts_in_which_nothing_is_wrong() -> None:
    assert console_data.note_names(AMISS.findings) == "1 note: languages"
    assert console_data.note_names([]) == ""
    assert {*console_data.facts(EVEN)} - {*console_data.facts(EVEN, without={"format", "lengths"})} == {
        "format",
        "lengths",
    }
    assert "format" in console_data.facts(AMISS, without={"format", "lengths"})


def test_a_long_example_is_cut_at_the_edge() -> None:
    finding = dataclasses.replace(AMISS.findings[0], examples=["a.jsonl:1: " + "long " * 40])
    text = printed(lambda out: console_data.show_findings(out, [finding], ["standard"]))
    assert [len(line) for line in text.splitlines() if "long" in line] == [80]


def test_an_audit_that_found_nothing_says_so_and_a_run_without_one_says_nothing() -> None:
    assert printed(lambda out: console_data.show_findings(out, [], ["standard"])).strip() == (
        "audit (standard): nothing found"
    )
    assert printed(lambda out: console_data.show_findings(out, [], [])) == ""


def test_without_colours_what_is_learned_stands_in_brackets() -> None:
    text = printed(lambda out: console_data.show_rows(out, EVEN.view))
    assert text.splitlines() == [
        "rows as the model sees them; learned text is in ⟦ ⟧",
        "a.jsonl:1",
        "  <|user|>⏎",
        "  Hi<|end|>⏎",
        "  ⟦Hello<|end|>⟧",
    ]


def test_with_colours_what_is_learned_is_green() -> None:
    text = printed(lambda out: console_data.show_rows(out, EVEN.view), colours=True)
    assert re.findall(r"\x1b\[1;32m([^\x1b]*)\x1b", text) == ["learned text is green", "Hello<|end|>"]
    assert re.findall(r"\x1b\[2m([^\x1b]*)\x1b", text) == ["<|user|>⏎", "Hi<|end|>⏎"]
    assert "⟦" not in text


def test_a_row_cannot_steer_the_terminal_or_fill_it() -> None:
    many = ViewedRow("a.jsonl:2", [Piece(f"<{number}>", bool(number % 2)) for number in range(40)])
    text = printed(lambda out: console_data.show_rows(out, [*AMISS.view, many]))
    assert "\x1b" not in text
    assert "⇥\\x1b[31mred⏎" in text
    assert text.count("x") < 700
    assert " … 28 parts left out … " in text
    assert "<5>" in text
    assert "<6>" not in text
    assert "<33>" not in text
    assert "<34>" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    def show(out: Terminal) -> None:
        table = Table(box=None)
        for name, text in console_data.facts(AMISS).items():
            table.add_row(name, text)
        out.print(table)
        console_data.show_findings(out, AMISS.findings, ["standard"])
        console_data.show_rows(out, AMISS.view)

    assert max(map(len, printed(show, width=width).splitlines())) <= width
