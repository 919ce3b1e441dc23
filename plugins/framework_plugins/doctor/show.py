"""The results, as text and as one JSON object."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from framework import __version__
from framework.api import State, as_plain, shell_word
from framework_plugins.doctor import DiagnosticRecord

MARGIN = 2
MIN_COUNTED = 3
"""Libraries from which on they are counted."""
COLOURS = {State.ok: "green", State.missing: "yellow", State.broken: "yellow", State.off: "dim", State.unknown: "dim"}


def as_json(records: Sequence[DiagnosticRecord], words: Sequence[str]) -> dict[str, Any]:
    """Return everything; `reasons` are the records that keep the run from starting."""
    return {
        "can_run": not any(one.blocks for one in records),
        "overrides": list(words),
        "framework": __version__,
        "reasons": [as_plain(one) for one in records if one.blocks],
        "checks": [as_plain(one) for one in records],
    }


def show(console: Console, records: Sequence[DiagnosticRecord], words: Sequence[str]) -> None:
    """Print a line for each topic that is well, a row for each problem, and whether the run can start.

    What is absent and not needed is only named; `--json` has all of it.
    """
    topics = list(dict.fromkeys(one.topic for one in records))
    width = max(map(len, topics))
    for topic in topics:
        well = [one for one in records if one.topic == topic and one.state is State.ok]
        if well:
            _paragraph(console, width, topic, _well(well))
    if missing := [one.name for one in records if one.state is State.missing and not one.blocks]:
        text = f"not installed, not needed: {', '.join(missing)} (--json says how to install them)"
        console.print(Text(_wrapped(console, text, " " * MARGIN), COLOURS[State.missing]), soft_wrap=True)
    if off := [f"{one.name} ({one.detail})" for one in records if one.state is State.off and not one.blocks]:
        text = f"off: {', '.join(off)}"
        console.print(Text(_wrapped(console, text, " " * MARGIN), COLOURS[State.off]), soft_wrap=True)
    for one in records:
        if one.state in {State.broken, State.unknown} and not one.blocks:
            line = _wrapped(console, f"{one.state.value}: {one.name}: {finding(one)}", " " * MARGIN)
            console.print(Text(line, COLOURS[one.state]), soft_wrap=True)
            if one.fix:
                console.print(Text(f"{' ' * MARGIN}fix: {one.fix}"), soft_wrap=True)
    _verdict(console, [one for one in records if one.blocks], words)


def _well(records: Sequence[DiagnosticRecord]) -> str:
    """Return the versions, or the details of what has none; many libraries with a version only are counted."""
    plain = [one for one in records if one.version and not one.detail]
    if len(plain) == len(records) >= MIN_COUNTED:
        return f"{len(plain)} have the required versions"
    return "; ".join(f"{one.name} {one.version or one.detail}".strip() for one in records)


def _paragraph(console: Console, width: int, topic: str, text: str) -> None:
    indent = " " * (width + MARGIN)
    lines = _wrapped(console, text, indent, room=len(indent))
    console.print(Text.assemble((f"{topic:{width + MARGIN}}", "bold"), lines), soft_wrap=True)


def _wrapped(console: Console, text: str, indent: str, room: int = 0) -> str:
    """Wrap a text; `indent` begins each line but the first, which has `room` characters before it."""
    lines = textwrap.wrap(
        " ".join(text.split()), console.width, initial_indent=" " * room, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines)[room:]


def finding(one: DiagnosticRecord) -> str:
    """Say what was found; of what is broken also which plugin looked."""
    plugin = f"(plugin '{one.plugin}')" if one.state is State.broken and one.plugin != "core" else ""
    head = ", ".join(part for part in (one.version, one.detail) if part)
    return " ".join(part for part in (head, plugin) if part)


def _verdict(console: Console, reasons: Sequence[DiagnosticRecord], words: Sequence[str]) -> None:
    run = " ".join(["python -m framework", *map(shell_word, words)])
    if not reasons:
        console.print(Text.assemble("\n", ("can run here", "bold green"), f": {run}"), soft_wrap=True)
        return
    console.print(Text.assemble("\n", ("cannot run here", "bold red"), f": {run}"), soft_wrap=True)
    for one in reasons:
        text = " ".join(f"{one.name}: {finding(one)}".split())
        lines = textwrap.wrap(text, console.width - 2 * MARGIN, break_long_words=False, break_on_hyphens=False)
        console.print(Text(textwrap.indent("\n".join(lines), " " * MARGIN)), soft_wrap=True)
        if one.fix:
            console.print(Text(f"{' ' * 2 * MARGIN}fix: {one.fix}"), soft_wrap=True)
