"""Answers side by side in the terminal: what was asked, what the base said, what the tuned model says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from framework.api import Sample, redact, visible
from framework.api.program import shared_start

LONGEST = 600
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
            _asked(after, shared, right=right),
            _answer(before) if before else Text("-"),
            _answer(after, style="green" if right else ""),
        )
    return table


def _asked(sample: Sample, shared: int, *, right: bool) -> Text:
    """Return what was asked, with the reference below it where the answer is another one."""
    text = Text(_cut(sample.prompt[shared:]))
    if sample.reference is not None and not right:
        text.append(f"\nexpected: {_cut(sample.reference)}", style="dim")
    return text


def _answer(sample: Sample, style: str = "") -> Text:
    """Return an answer, and whether the limit of tokens cut it off."""
    text = Text(_cut(sample.answer), style=style)
    return text if sample.stopped else text.append("\n(did not stop)", style="yellow")


def _cut(text: str) -> str:
    text, half = str(redact(text)).strip(), LONGEST // 2
    return visible(text if len(text) <= LONGEST else f"{text[:half].rstrip()} … {text[-half:].lstrip()}", "\n")
