"""The suite of `format=`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from framework.api import records
from framework.api.protocols import Formatter
from framework.api.records import DataResult, Example, Row
from framework.data.rows import to_examples
from framework.hooks.session import current
from framework.run import pipeline
from framework.testing.suites.base import Rows, Suite, expect
from framework.util.errors import FrameworkError, summarize_error

ROLES = ("system", "user", "assistant", "tool")
ODD: tuple[Any, ...] = (
    None,
    "",
    " ",
    3,
    2.5,
    True,
    [],
    {},
    [None],
    [[]],
    [{}],
    {"a": None},
    ["text"],
    [{"role": None}],
    "\udc00",
)
"""What is in a field that somebody else wrote."""


class FormatterSuite(Suite):
    """What every format has to do.

    Attributes:
        rows: rows that it takes; at least one.
        broken: (row, field): rows that it refuses with an error that names the field; at least one.
        recognised: whether `format=auto` is to find it. False if rows do not show by themselves that they have this
            format; `matches` is then False for all of them.
    """

    group = "format"
    rows: ClassVar[Rows] = ()
    broken: ClassVar[Sequence[tuple[Mapping[str, Any], str]]] = ()
    recognised: ClassVar[bool] = True

    def test_there_are_rows_to_test_with(self) -> None:
        """Both `rows` and `broken` are given."""
        for name in ("rows", "broken"):
            expect(getattr(self, name), f"{type(self).__name__}.{name} is empty")

    def test_odd_rows_are_matched_or_not_without_an_error(self, tmp_path: Path) -> None:
        """`matches` answers True or False for every row, also an empty one and one with values of any type."""
        formatter: Formatter = self.create(tmp_path)
        for row in self._odd_rows():
            try:
                answer: object = formatter.matches(row)
            except Exception as error:
                raise AssertionError(f"matches({row}) raises {summarize_error(error)}") from error
            expect(isinstance(answer, bool), f"matches({row}) returns {answer!r}, not True or False")

    def test_odd_rows_make_a_conversation_or_a_clear_error(self, tmp_path: Path) -> None:
        """`example` raises nothing but `FrameworkError`: a user's row is never the program's failure."""
        formatter: Formatter = self.create(tmp_path)
        for row in self._odd_rows():
            try:
                formatter.example(row)
            except FrameworkError:
                continue
            except Exception as error:
                raise AssertionError(
                    f"example({row}) raises {summarize_error(error)}: a user's row needs a FrameworkError"
                ) from error

    def _odd_rows(self) -> Iterator[dict[str, Any]]:
        yield {}
        yield {"no such field": "text"}
        for row in self.rows:
            for name in row:
                yield {key: value for key, value in row.items() if key != name}
                for value in ODD:
                    yield {**row, name: value}
                if isinstance(row[name], list):
                    for value in ODD:
                        yield {**row, name: [*row[name], value]}

    def test_every_row_becomes_a_conversation(self, tmp_path: Path) -> None:
        """It begins with a question, ends with an assistant's turn, and its roles and texts are valid.

        Where `Example.text` is given, the row is plain text and has no turns; `Example.rejected` ends with an
        assistant's turn too.
        """
        formatter: Formatter = self.create(tmp_path)
        for row in self.rows:
            example = formatter.example(row)
            turns = (*example.messages, *example.rejected)
            roles = [message.role for message in turns]
            expect(set(roles) <= set(ROLES), f"{row}: the roles are {roles}; valid: {', '.join(ROLES)}")
            texts = all(isinstance(message.content, str) for message in turns)
            expect(texts, f"{row}: a turn is not text: {turns}")
            expect(example.text is None or not turns, f"{row}: plain text has no turns, and there are {turns}")
            ends = not example.rejected or example.rejected[-1].role == "assistant"
            expect(ends, f"{row}: the rejected turns end with '{roles[-1] if roles else ''}', not the assistant's")
            expect(self._described(example), f"{row}: a tool has no {{function: {{name: …}}}}: {example.tools}")
            is_option = example.format in current().plugins.components("format")
            expect(is_option, f"{row}: Example.format is '{example.format}', the name of no option of format=")
            try:
                to_examples([Row(row, "row")], formatter)
            except FrameworkError as error:
                raise AssertionError(str(error)) from error

    def _described(self, example: Example) -> bool:
        functions = [tool.get("function") for tool in example.tools]
        return all(isinstance(function, Mapping) and function.get("name") for function in functions)

    def test_a_row_is_not_changed(self, tmp_path: Path) -> None:
        """Neither method changes the row that it is given."""
        formatter: Formatter = self.create(tmp_path)
        for row in self.rows:
            copied = copy.deepcopy(dict(row))
            formatter.matches(copied)
            formatter.example(copied)
            expect(copied == dict(row), f"the row was {row} and is {copied}")

    def test_the_same_row_gives_the_same_conversation(self, tmp_path: Path) -> None:
        """Twice, and again by a second instance that has seen other rows."""
        fresh, used = (self.create(tmp_path) for _ in range(2))
        for row in reversed(self.rows):
            used.example(row)
        for row in self.rows:
            expect(fresh.example(row) == fresh.example(row) == used.example(row), f"{row} gives two conversations")

    def test_a_broken_row_is_refused_and_the_field_named(self, tmp_path: Path) -> None:
        """Each of `broken` raises `FrameworkError` with the field in the message."""
        formatter: Formatter = self.create(tmp_path)
        for row, name in self.broken:
            try:
                to_examples([Row(row, "row")], formatter)
            except FrameworkError as error:
                expect(name in str(error), f"{row}: the message does not name '{name}': {error}")
            else:
                raise AssertionError(f"{row} is taken, though '{name}' is broken")

    def test_auto_recognises_its_rows_and_no_other_format_claims_them(self, tmp_path: Path) -> None:
        """Of all registered formats, only this one matches its rows, and `format=auto` gives them to it.

        A format with the attribute `fallback = True`, such as plain text, is taken if no other fits, so it may match
        them too.
        """
        auto = current().plugins.components("format")["auto"]
        recognise: Formatter = auto.load()(auto.schema())
        own_formatter: Formatter = self.create(tmp_path)
        formats = {
            name: part.load()(part.schema())
            for name, part in current().plugins.components("format").items()
            if name != "auto"
        }
        formats |= {} if self.option == "auto" else {self.option: own_formatter}
        for row in self.rows:
            claiming = [name for name, formatter in formats.items() if formatter.matches(row)]
            firm = [name for name in claiming if not _is_fallback(formats[name])]
            claiming = firm or claiming
            if self.option == "auto":
                expect(len(claiming) == 1, f"{row} is recognised by {claiming}, not by one format")
            else:
                expect(claiming.count(self.option) == self.recognised, f"{row} is recognised by {claiming}")
                rivals = [name for name in claiming if name != self.option]
                expect(not (self.recognised and rivals), f"{row} is claimed by {rivals} too")
            if self.recognised:
                named = [formatter.example(row).format for formatter in (recognise, own_formatter)]
                expect(named[0] == named[1], f"{row} becomes {named[0]} by format=auto, {named[1]} by this format")

    def test_its_rows_pass_the_data_stage(self, tmp_path: Path) -> None:
        """A run reads, formats and tokenizes the rows out of a file, all of them."""
        plan = self.plan(tmp_path, "stages=[data]", rows=self.rows)
        pipeline.run(plan)
        result = records.load(DataResult, plan.run_dir / "data.json")
        expect(result.train_rows == len(self.rows), f"{len(self.rows)} rows became {result.train_rows}")


def _is_fallback(formatter: Formatter) -> bool:
    return formatter.fallback
