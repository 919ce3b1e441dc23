"""What a check found, by row numbers, and the finding that is reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framework.api import AuditData, Finding, Severity
from framework_plugins.audit.config import Check

Numbers = NDArray[np.int64]
SHOWN_ROWS = 5
"""Rows that a finding names."""


@dataclass(frozen=True)
class FindingDraft:
    """A finding before its examples are read.

    Attributes:
        check: its name.
        severity: how bad it is.
        numbers: the rows of the finding.
        text: the finding with its number, in one sentence.
        advice: the remedy.
        rows: how many rows it is about, if that is not the number of `numbers`.
        labels: words to show instead of a row's text; (row, words), among the first rows.
        whole: whether it is about the data as a whole, without example rows.
        named: whether the finding says where each of the rows is, for a verdict that leaves them out.
        leaks: of a leak, the training rows that answer what `numbers` ask.
    """

    check: Check
    severity: Severity
    numbers: Numbers
    text: str
    advice: str
    rows: int | None = None
    labels: tuple[tuple[int, str], ...] = ()
    whole: bool = False
    named: bool = False
    leaks: Numbers | None = None

    def finding(self, data: AuditData, *, fatal: bool) -> Finding:
        """Name the first rows."""
        labels, shown_rows = dict(self.labels), [] if self.whole else self.numbers[:SHOWN_ROWS].tolist()
        examples = [
            f"{data.where(row)}: {labels[row]}" if row in labels else data.examples([row])[0] for row in shown_rows
        ]
        rows = len(self.numbers) if self.rows is None else self.rows
        where = [data.where(row) for row in self.numbers.tolist()] if self.named else []
        return Finding(self.check.value, self.severity, rows, self.text, self.advice, examples, fatal, where)


def of(count: int, total: int, noun: str = "rows") -> str:
    """Write a count with its total: `12 of 300 rows (4%)`, `1 of 300 rows`."""
    share = f" ({count / total:.0%})" if total and count / total >= 0.01 and count > 1 else ""  # noqa: PLR2004 - a percent
    return f"{count} of {total} {noun}{share}"


def are(count: int, singular: str = "is", plural: str = "are") -> str:
    """Return the verb that fits a number."""
    return singular if count == 1 else plural
