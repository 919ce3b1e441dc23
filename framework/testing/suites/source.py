"""The suite of `data=`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from framework.api import records
from framework.api.plan import Plan
from framework.api.protocols import Source
from framework.api.records import DataResult, RawData, Row
from framework.run import pipeline
from framework.testing.echo import plan
from framework.testing.suites.base import ROWS, Rows, Suite, expect


class SourceSuite(Suite):
    """What every source has to do.

    Attributes:
        overrides: settings with which the source finds its rows, such as the path of a file of the tests.
        count: how many rows to train on there are.
    """

    group = "data"
    count: ClassVar[int]

    def plan(self, folder: Path, *more: str, rows: Rows = ROWS) -> Plan:  # noqa: ARG002 - the rows are the source's own
        """Plan a run on the rows of the source in `folder/run`."""
        return plan([f"data={self.option}", "exporter=[]", *self.overrides, *more], run_dir=folder / "run")

    def rows(self, folder: Path) -> RawData:
        """Return what the source loads."""
        from framework.data import sources  # noqa: PLC0415 - numpy, which `framework.testing` does without

        choice = self.choice(folder)
        return sources.load(choice.component.name, choice.create())

    def test_its_rows_have_fields_and_a_place(self, tmp_path: Path) -> None:
        """`load` returns `RawData`; each row has a place, and fields with names, or else a problem."""
        raw = self.rows(tmp_path)
        for row in (*raw.train, *raw.validation, *raw.prompts):
            expect(isinstance(row, Row), f"{row!r:.60} is not a Row")
            expect(row.where, f"{row!r:.60} has no place: `where` is shown in messages, as orders.jsonl:12")
            named = all(isinstance(name, str) for name in row.fields)
            expect(named, f"{row.where}: the names of its fields are {[*row.fields]}, not texts")
            expect(bool(row.fields) != bool(row.problem), f"{row.where} has both fields and a problem, or neither")
        row_count = len(list(raw.train))
        expect(row_count == self.count, f"`train` has {row_count} rows, not {self.count}")

    def test_its_rows_are_the_same_each_time(self, tmp_path: Path) -> None:
        """They are iterated over more than once, and another `load` finds the same: caches depend on it."""
        from framework.data.reader import fingerprint  # noqa: PLC0415 - as above

        first, second = self.rows(tmp_path), self.rows(tmp_path)
        expect(list(first.train) == list(first.train), "`train` gives other rows the second time: return a list")
        expect(fingerprint(first) == fingerprint(second), "a second `load` finds other rows, or another `key`")

    def test_its_check_finds_nothing_wrong(self, tmp_path: Path) -> None:
        """`check`, if it has one, raises nothing if the rows are there."""
        source: Source = self.create(tmp_path)
        source.check()

    def test_a_run_reads_it(self, tmp_path: Path) -> None:
        """The data stage formats and tokenizes its rows."""
        run = self.plan(tmp_path, "stages=[data]")
        pipeline.run(run)
        result = records.load(DataResult, run.run_dir / "data.json")
        expect(result.train_rows, "no row is left to train on")
