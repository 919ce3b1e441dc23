"""The suite of `audit=`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from framework.api import records
from framework.api.records import DataResult, Finding, Severity
from framework.run import pipeline
from framework.testing.suites.base import Rows, Suite, expect
from framework.util.errors import FrameworkError, summarize_error

TEXTS = ("", " ", "\x00\ufeff", "日本語 🎉 ñ", "{", "[1, 2", "Ã©", "word " * 20_000, "x" * 100_000, "a@b://c:d@e")
"""What is in rows: nothing, other scripts, half a JSON, far too much."""
ALONE = ["data.validation_path=null", "data.prompts_path=null", "data.validation_split=0", "stages=[data]"]
"""The rows are for training only, so that none of them leaks."""


class AuditSuite(Suite):
    """What every audit has to do.

    Attributes:
        faulty: (name of a finding, rows in which it has to be found); at least one.
        clean: rows of which nothing worse than a note may be said; at least one.
    """

    group = "audit"
    faulty: ClassVar[Sequence[tuple[str, Rows]]] = ()
    clean: ClassVar[Rows] = ()

    def findings(self, folder: Path, rows: Rows) -> list[Finding]:
        """Run the data stage on `rows` and return what was found."""
        plan = self.plan(folder, *ALONE, rows=rows)
        pipeline.run(plan)
        return records.load(DataResult, plan.run_dir / "data.json").findings

    def test_there_are_rows_to_test_with(self) -> None:
        """Both `faulty` and `clean` are given."""
        for name in ("faulty", "clean"):
            expect(getattr(self, name), f"{type(self).__name__}.{name} is empty")

    def test_what_is_wrong_is_found(self, tmp_path: Path) -> None:
        """Each of `faulty` has a finding of its name."""
        for index, (name, rows) in enumerate(self.faulty):
            names = [finding.name for finding in self.findings(tmp_path / str(index), rows)]
            expect(name in names, f"'{name}' is not found in {rows[:3]}…, but {names or 'nothing'}")

    def test_clean_rows_have_no_findings(self, tmp_path: Path) -> None:
        """`clean` has no finding worse than a note."""
        worse = [finding for finding in self.findings(tmp_path, self.clean) if finding.severity is not Severity.note]
        expect(not worse, f"of clean rows it says: {'; '.join(finding.text for finding in worse)}")

    def test_findings_say_how_many_rows_and_what_to_do(self, tmp_path: Path) -> None:
        """They have a name, a text, an advice, a number of rows that exist, and examples that say where they are."""
        for index, (_, rows) in enumerate(self.faulty):
            for finding in self.findings(tmp_path / str(index), rows):
                subject = f"finding '{finding.name}'"
                expect(finding.name.isidentifier(), f"{subject}: the name is not a word")
                for part in ("text", "advice"):
                    expect(getattr(finding, part).strip(), f"{subject} has no {part}")
                expect(1 <= finding.rows <= len(rows), f"{subject} is about {finding.rows} of {len(rows)} rows")
                nowhere = [shown for shown in finding.examples if "rows.jsonl:" not in shown]
                expect(not nowhere, f"{subject}: these examples do not say where they are: {nowhere}")

    def test_the_same_rows_have_the_same_findings(self, tmp_path: Path) -> None:
        """Twice, by two instances."""
        for index, (_, rows) in enumerate([*self.faulty, ("", self.clean)]):
            left, right = (self.findings(tmp_path / f"{index}-{run}", rows) for run in "ab")
            expect(left == right, f"the findings differ: {left} and {right}")

    def test_odd_rows_raise_no_error(self, tmp_path: Path) -> None:
        """A single row, rows with texts of any kind, and talks that hold them everywhere, cause no exception."""
        odd = [{"instruction": question, "output": text} for question in ("Say it", "") for text in TEXTS]
        for index, rows in enumerate([odd, *([row] for row in odd), [_talk(text) for text in TEXTS]]):
            try:
                self.findings(tmp_path / str(index), rows)
            except FrameworkError:  # a fatal finding, or a format that refuses the row
                continue
            except Exception as error:
                raise AssertionError(f"of {str(rows)[:80]} it raises {summarize_error(error)}") from error


def _talk(text: str) -> dict[str, Any]:
    """Return a row that holds a text in its system prompt, its earlier answer, a thought, a call and a tool."""
    call = {"type": "function", "function": {"name": "look", "arguments": {"what": text}}}
    tool = {"type": "function", "function": {"name": "look", "description": text}}
    turns = [
        {"role": "system", "content": text},
        {"role": "user", "content": "Say it"},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "user", "content": "Again"},
        {"role": "assistant", "content": "No", "reasoning_content": text},
    ]
    return {"messages": turns, "tools": [tool]}
