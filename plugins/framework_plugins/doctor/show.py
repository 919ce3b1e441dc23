"""The results, as text and as one JSON object."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from framework import __version__
from framework.api import State, as_plain
from framework_plugins.doctor import DiagnosticRecord

MARGIN = 2
MIN_COUNTED = 3
"""Libraries from which on they are counted."""
COLOURS = {State.ok: "green", State.missing: "yellow", State.broken: "yellow", State.off: "dim", State.unknown: "dim"}


def as_json(records: Sequence[DiagnosticRecord], words: Sequence[str]) -> dict[str, Any]:
    """Return everything; `reasons` are the records that keep the run from starting."""
    return {
        "can_run": not any(record.blocks for record in records),
        "overrides": list(words),
        "framework": __version__,
        "reasons": [as_plain(record) for record in records if record.blocks],
        "checks": [as_plain(record) for record in records],
    }


def show(console: Console, records: Sequence[DiagnosticRecord], words: Sequence[str]) -> None:
    """Print a line for each topic that is well, a row for each problem, and whether the run can start.

    What is absent and not needed is only named; `--json` has all of it.
    """
    topics = list(dict.fromkeys(record.topic for record in records))
    width = max(map(len, topics))
    for topic in topics:
        well = [record for record in records if record.topic == topic and record.state is State.ok]
        if well:
            _paragraph(console, width, topic, _working_text(well))
    if missing_names := [record.name for record in records if record.state is State.missing and not record.blocks]:
        text = f"not installed, not needed: {', '.join(missing_names)} (--json says how to install them)"
        console.print(Text(_wrapped(console, text, " " * MARGIN), COLOURS[State.missing]), soft_wrap=True)
    if off := [
        f"{record.name} ({record.detail})" for record in records if record.state is State.off and not record.blocks
    ]:
        text = f"off: {', '.join(off)}"
        console.print(Text(_wrapped(console, text, " " * MARGIN), COLOURS[State.off]), soft_wrap=True)
    for record in records:
        if record.state in {State.broken, State.unknown} and not record.blocks:
            line = _wrapped(console, f"{record.state.value}: {record.name}: {finding(record)}", " " * MARGIN)
            console.print(Text(line, COLOURS[record.state]), soft_wrap=True)
            if record.fix:
                console.print(Text(f"{' ' * MARGIN}fix: {record.fix}"), soft_wrap=True)
    _verdict(console, [record for record in records if record.blocks], words)


def _working_text(records: Sequence[DiagnosticRecord]) -> str:
    """Return the versions, or the details of what has none; many libraries with a version only are counted."""
    plain = [record for record in records if record.version and not record.detail]
    if len(plain) == len(records) >= MIN_COUNTED:
        return f"{len(plain)} have the required versions"
    return "; ".join(f"{record.name} {record.version or record.detail}".strip() for record in records)


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


def finding(record: DiagnosticRecord) -> str:
    """Say what was found; of what is broken also which plugin looked."""
    plugin = f"(plugin '{record.plugin}')" if record.state is State.broken and record.plugin != "core" else ""
    head = ", ".join(part for part in (record.version, record.detail) if part)
    return " ".join(part for part in (head, plugin) if part)


def _verdict(console: Console, reasons: Sequence[DiagnosticRecord], words: Sequence[str]) -> None:
    run = shlex.join(["python", "-m", "framework", *words])
    if not reasons:
        console.print(Text.assemble("\n", ("can run here", "bold green"), f": {run}"), soft_wrap=True)
        return
    console.print(Text.assemble("\n", ("cannot run here", "bold red"), f": {run}"), soft_wrap=True)
    for record in reasons:
        text = " ".join(f"{record.name}: {finding(record)}".split())
        lines = textwrap.wrap(text, console.width - 2 * MARGIN, break_long_words=False, break_on_hyphens=False)
        console.print(Text(textwrap.indent("\n".join(lines), " " * MARGIN)), soft_wrap=True)
        if record.fix:
            console.print(Text(f"{' ' * 2 * MARGIN}fix: {record.fix}"), soft_wrap=True)
