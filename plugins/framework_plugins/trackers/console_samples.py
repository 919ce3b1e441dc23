"""Answers side by side in the terminal: what was asked, what the base said, what the tuned model says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from framework.api import Sample, redact, visible
from framework_plugins.lib.sentences import shared_start

MAX_TEXT_CHARS = 600
"""Characters of a prompt or an answer; the middle of a longer one is left out."""


class Clipped:
    """A text of which only the first lines are printed, and below it a mark."""

    def __init__(self, text: Text, lines: int | None, mark: Text | None = None) -> None:
        self.text, self.lines, self.mark = text, lines, mark

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Cut the text at the width of its cell."""
        lines = list(self.text.wrap(console, options.max_width, overflow="fold"))
        if self.lines and len(lines) > self.lines:
            lines[self.lines - 1 :] = [Text("…", self.text.style)]
        yield Text("\n").join([*lines, *([self.mark] if self.mark else [])])


def side_by_side(samples: Sequence[tuple[Sample | None, Sample]], *, lines: int | None = None) -> Table:
    """Return a table of answers, each of at most `lines` lines; what all prompts begin with is left out."""
    shared = shared_start([after.prompt for _, after in samples])
    table = Table(title="answers", title_justify="left", title_style="bold", expand=True, box=None, pad_edge=False)
    for heading in ("prompt", "before", "after"):
        table.add_column(heading, overflow="fold", ratio=1)
    for at, (before, after) in enumerate(samples):
        if at:
            table.add_row()
        right = after.reference is not None and after.answer.strip() == after.reference.strip()
        table.add_row(
            _prompt_cell(after, shared, lines, right=right),
            _answer_cell(before, lines) if before else Text("-"),
            _answer_cell(after, lines, style="green" if right else ""),
        )
    return table


def _prompt_cell(sample: Sample, shared: int, lines: int | None, *, right: bool) -> Clipped | Group:
    """Return the prompt, with the reference below it if the answer is wrong."""
    text = Text(_shorten(sample.prompt[shared:]))
    if sample.reference is None or right:
        return Clipped(text, lines)
    expected = Text(f"expected: {_shorten(sample.reference)}", style="dim")
    half = max(1, lines // 2) if lines else None
    return Group(Clipped(text, half), Clipped(expected, half))


def _answer_cell(sample: Sample, lines: int | None, style: str = "") -> Clipped:
    """Return the answer, marked if the limit of tokens cut it off."""
    mark = None if sample.stopped else Text("(did not stop)", style="yellow")
    return Clipped(Text(_shorten(sample.answer), style=style), lines and lines - bool(mark), mark)


def _shorten(text: str) -> str:
    text, half = str(redact(text)).strip(), MAX_TEXT_CHARS // 2
    return visible(text if len(text) <= MAX_TEXT_CHARS else f"{text[:half].rstrip()} … {text[-half:].lstrip()}", "\n")
