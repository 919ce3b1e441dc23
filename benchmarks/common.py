"""What the benchmarks share: their command line, where they print, and the lines of a table in Markdown."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from rich.console import Console

OUT = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def command_line(text: str | None) -> argparse.ArgumentParser:
    """Return a parser whose `--help` begins with the docstring of a module."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def table_row(*cells: object) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def table_head(*columns: object) -> str:
    """Return the first two lines of a table."""
    return f"{table_row(*columns)}\n{'|---' * len(columns)}|"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median of some measurements, and in brackets the least and the most."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"
