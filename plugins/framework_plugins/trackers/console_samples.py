"""Answers side by side in the terminal: what was asked, what the base said, what the tuned model says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from framework.api import Sample, redact, visible
from framework_plugins.lib.sentences import shared_start

MAX_TEXT_CHARS = 600
"""Characters of a prompt or an answer; the middle of a longer one is left out."""


def side_by_side(samples: Sequence[tuple[Sample | None, Sample]]) -> Table:
    """Return a table of answers; lines that all prompts begin with are left out."""
    shared = shared_start([after.prompt for _, after in samples])
    table = Table(title="answers", title_justify="left", title_style="bold", show_lines=True, expand=True)
    for heading in ("prompt", "before", "after"):
        table.add_column(heading, overflow="fold", ratio=1)
    for before, after in samples:
        right = after.reference is not None and after.answer.strip() == after.reference.strip()
        table.add_row(
            _prompt_cell(after, shared, right=right),
            _answer_cell(before) if before else Text("-"),
            _answer_cell(after, style="green" if right else ""),
        )
    return table


def _prompt_cell(sample: Sample, shared: int, *, right: bool) -> Text:
    """Return the prompt, with the reference below it if the answer is wrong."""
    text = Text(_shorten(sample.prompt[shared:]))
    if sample.reference is not None and not right:
        text.append(f"\nexpected: {_shorten(sample.reference)}", style="dim")
    return text


def _answer_cell(sample: Sample, style: str = "") -> Text:
    """Return the answer, marked if the limit of tokens cut it off."""
    text = Text(_shorten(sample.answer), style=style)
    return text if sample.stopped else text.append("\n(did not stop)", style="yellow")


def _shorten(text: str) -> str:
    text, half = str(redact(text)).strip(), MAX_TEXT_CHARS // 2
    return visible(text if len(text) <= MAX_TEXT_CHARS else f"{text[:half].rstrip()} … {text[-half:].lstrip()}", "\n")
