"""Raw rows -> conversations: `format.columns`, the format, `format.system_prompt`, and what every conversation must be.

What is wrong with a row is collected: `data.on_bad_row` says whether bad rows end the run or are left out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from framework.api.protocols import Formatter
from framework.api.records import Example, FormatRun, Message, Row
from framework.api.records.data import RowCounts
from framework.api.schema import FormatConfig, OnBadRow
from framework.data.columns import Columns
from framework.data.conversation_checks import check_returned, check_text, check_turns
from framework.util.errors import FrameworkError
from framework.util.guard import Caught, Guard

SHOWN_ERRORS = 10
NAMED_PLACES = 3
"""Rows with one problem that are all named; of more the first two and the last."""
KEPT_RUNS = 20
"""Stretches of one format that are remembered; those after it are counted."""
RATING = re.compile(
    r"(?:^|_)(?:rating|ratings|rated|score|stars|thumbs?|feedback|votes?|upvotes|quality|helpfulness|grade|satisfaction)"
    r"(?:$|_)", re.IGNORECASE,
)  # fmt: skip
"""Names of fields that say how good an answer is."""
KEPT_RATINGS = 20
"""Different values of a rating that are remembered."""
SHOWN_RATING = 20
"""Characters of one."""
KEPT_FIELDS = 200
"""Fields that nothing reads and that are counted: names may be data, and without end."""


@dataclass
class ReadSummary:
    """The counts and problems of reading the rows; `counts` is replaced by the next ones while they are read.

    `stopped` plain texts hold a stop token before their end, the first of which are `stopped_examples`. `normalized`
    rows have answers in which the tokenizer writes other characters. `given` counts the groups with a fact or an array
    of a name. `settings` would read the first bad row.
    `ratings` counts the values of fields that say how good an answer is, and that nothing reads.
    """

    counts: RowCounts = field(default_factory=RowCounts)
    stopped: int = 0
    stopped_examples: list[str] = field(default_factory=list)
    normalized: int = 0
    normalized_examples: list[str] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    ratings: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin to collect."""
        self._problems: list[tuple[str, str]] = []  # of the first bad rows, with their places

    def bad(self, row: Row, problem: str, settings: Mapping[str, Any] | None = None) -> None:
        """Record a bad row, and the settings that would read the first one."""
        if not self.counts.bad_rows:
            self.settings = dict(settings or {})
        self.counts = dataclasses.replace(self.counts, bad_rows=self.counts.bad_rows + 1)
        if self.counts.bad_rows <= SHOWN_ERRORS:
            self.counts.bad_examples.append(f"{row.where}: {problem}")
            self._problems.append((row.where, problem))

    def ran(self, run: FormatRun) -> None:
        """Record a finished stretch of rows with one format."""
        formats, runs = self.counts.formats, self.counts.format_runs
        formats[run.format] = formats.get(run.format, 0) + run.rows
        if len(runs) < KEPT_RUNS:
            runs.append(run)

    def refusal(self) -> FrameworkError:
        """Return the error that names the first bad rows; consecutive rows with the same problem share a line."""
        remaining = self.counts.bad_rows - len(self.counts.bad_examples)
        line = f"and {remaining} more rows; data.on_bad_row=skip leaves bad rows out"
        if not self.counts.formats:  # then no row would be left
            line = f"and {remaining} more rows, all of them"
        text = "\n".join([*_problem_lines(self._problems), *([line] if remaining else [])])
        return FrameworkError(text, settings=self.settings)


def _problem_lines(problems: Iterable[tuple[str, str]]) -> Iterator[str]:
    for problem, group in itertools.groupby(problems, key=lambda pair: pair[1]):
        places = [where for where, _ in group]
        if len(places) > NAMED_PLACES:
            places = [places[0], f"{places[1]} … {places[-1]} ({len(places)} rows)"]
        yield f"{', '.join(places)}: {problem}"


class FormatTracker:
    """Records the format of each stretch of rows, and the fields that change nothing, in constant memory.

    `cluster_field` is the field that `format.cluster` names, which the core reads itself.
    """

    def __init__(self, summary: ReadSummary, formatter: Formatter, cluster_field: str | None = None) -> None:
        self.summary = summary
        self.formatter = formatter
        self.cluster_field = cluster_field
        self._known: dict[tuple[Any, ...], tuple[str, list[str]]] = {}
        self._now = ("", "")
        self._first = self._last = ""
        self._rows = 0

    def good(self, where: str, fields: Mapping[str, Any], example: Example) -> None:
        """Record a row and its example."""
        filled_names = tuple(name for name, value in fields.items() if not _is_empty(value))
        names = (example.format, filled_names, turn_fields(fields), *fields)
        # By names and not by values: taking fields out reads the row once for each.
        usage = self._known.get(names)
        if usage is None:
            if len(self._known) > 100 * KEPT_RUNS:  # fields whose names are data
                self._known.clear()
            needed, unread = decisive(self.formatter, fields, example)
            unread = [name for name in unread if name in filled_names and name != self.cluster_field]
            unread += [f"turn field {name}" for name in unread_in_turns(self.formatter, fields, example, unread)]
            usage = self._known[names] = needed, unread
        evidence, unread = usage
        for name in unread:
            unread_fields = self.summary.counts.unread_fields
            if name in unread_fields or len(unread_fields) < KEPT_FIELDS:
                unread_fields[name] = unread_fields.get(name, 0) + 1
            if RATING.search(name) and isinstance(value := fields.get(name), str | int | float):
                counts = self.summary.ratings.setdefault(name, {})
                if (shown := str(value)[:SHOWN_RATING]) in counts or len(counts) < KEPT_RATINGS:
                    counts[shown] = counts.get(shown, 0) + 1
        if example.rejected:
            rejected_answers = self.summary.counts.rejected_answers + 1
            self.summary.counts = dataclasses.replace(self.summary.counts, rejected_answers=rejected_answers)
        if (example.format, evidence) != self._now:
            self.close()
            self._now, self._first = (example.format, evidence), where
        self._last = where
        self._rows += 1

    def close(self) -> None:
        """End the stretch that is open."""
        if self._rows:
            self.summary.ran(FormatRun(self._now[0], self._first, self._last, self._rows, self._now[1]))
        self._rows, self._now = 0, ("", "")


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def decisive(formatter: Formatter, fields: Mapping[str, Any], example: Example) -> tuple[str, list[str]]:
    """Return the fields without which the row would not be read in its format, and those that change nothing.

    The first are all of them if none is needed. The second are neither asked for by the format that reads the row nor
    missing in the conversation if they are taken out.
    """
    without = {name: _read_without(formatter, fields, name) for name in fields}
    needed = [name for name, remainder in without.items() if remainder is None or remainder.format != example.format]
    requested = _requested_fields(formatter, fields, example.format)
    return ", ".join(map(str, needed or fields)), [
        name for name, remainder in without.items() if remainder == example and name not in requested
    ]


def turn_fields(fields: Mapping[str, Any], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the fields with a value in the turns of a row, except turns in the fields `without`."""
    lists = (turns for name, value in fields.items() if name not in without and (turns := _turns(value)))
    return tuple({
        str(name): None for turns in lists for turn in turns for name, value in turn.items() if not _is_empty(value)
    })  # fmt: skip


def unread_in_turns(
    formatter: Formatter, fields: Mapping[str, Any], example: Example, without: Sequence[str]
) -> list[str]:
    """Name the fields of turns that change nothing, and that the format does not ask for."""
    names, requested = turn_fields(fields, without), set[str]()
    noting = {
        name: [_RecordingRow(turn, requested) for turn in turns]
        for name, value in fields.items()
        if (turns := _turns(value))
    }
    with suppress(Exception):
        formatter.example({**fields, **noting})
    return [
        name
        for name in names
        if name not in requested
        and _read_without(formatter, {**fields, **_remove_turn_field(noting, name)}, "") == example
    ]


def _remove_turn_field(lists: Mapping[str, list[_RecordingRow]], name: str) -> dict[str, Any]:
    return {
        field_name: [{key: value for key, value in turn.items() if key != name} for turn in turns]
        for field_name, turns in lists.items()
    }


def _turns(value: object) -> list[dict[str, Any]] | None:
    """Return a list of objects, also from JSON text in a cell of a table; None for other values."""
    if isinstance(value, str):
        # Before parsing: most cells are plain text.
        if not value.startswith("[{"):
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value) else None


def _read_without(formatter: Formatter, fields: Mapping[str, Any], name: str) -> Example | None:
    with Caught():  # without the field the row cannot be read
        return formatter.example({key: value for key, value in fields.items() if key != name})
    return None


def _requested_fields(formatter: Formatter, fields: Mapping[str, Any], format_name: str) -> set[str]:
    """Return the fields that a format asks for by name; a label that is true is one, and changes nothing."""
    row = _RecordingRow(fields)
    reader = formatter.formats.get(format_name, formatter)
    with Caught():  # a composite may have renamed the fields
        reader.example(row)
    return row.requested


class _RecordingRow(dict[str, Any]):
    """A row, or a turn, that notes which of its fields are asked for by name."""

    def __init__(self, fields: Mapping[str, Any], requested: set[str] | None = None) -> None:
        super().__init__(fields)
        self.requested: set[str] = set() if requested is None else requested

    def __getitem__(self, name: str) -> Any:
        self.requested.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.requested.add(name)
        return super().get(name, default)


def to_examples(rows: Iterable[Row], formatter: Formatter) -> list[Example]:
    """Format every row; one error names the problems of the first ten bad rows."""
    return list(read(rows, formatter, FormatConfig(), OnBadRow.fail, ReadSummary()))


def read(
    rows: Iterable[Row],
    formatter: Formatter,
    config: FormatConfig,
    on_bad_row: OnBadRow,
    summary: ReadSummary,
    *,
    name: str = "",
    strict: bool = True,
    longest: int | None = None,
    check: Callable[[Example], None] = Example.check_answered,
    keep_columns: bool = False,
) -> Iterator[Example]:
    """Give the conversations of the rows one by one; `summary` is filled meanwhile, its runs at the end.

    `name` is the option of `format=`, for messages.
    `strict` asks for every column of `format.columns` in one row at least, as the run's own training rows have it;
    rows held out or mixed in may have others. `longest` is how many characters a row may have, and `check` refuses one
    that the method cannot use. `keep_columns`: the fields of the row go along, for rewards, so that none is unread.

    Raises:
        FrameworkError: at the end, where `format.columns` names a column that no row has and `strict` asks for it, or
            a row is bad and `data.on_bad_row=fail`.
    """
    columns, runs = Columns(config), FormatTracker(summary, formatter, config.cluster)
    part = f"format={name}" if name else "the format"
    guard = Guard(f"{part} cannot read the row")  # its own code may meet a row that it does not expect
    for row in rows:
        if row.problem:
            summary.bad(row, row.problem)
            continue
        try:
            with guard:
                for field_name in row.fields:
                    check_text("the name of a field", str(field_name))
                fields, cluster = columns.read(row.fields)
                raw_example = formatter.example(fields)
                check_returned(part, raw_example)
                example = with_system_prompt(raw_example, config.system_prompt)
                example = (stripped(example) if config.strip else example).with_thoughts(config.thoughts)
                check_turns(example)
                check(_place_example(example, row.where, cluster, row.fields))
                _check_length(example, longest)
        except FrameworkError as error:
            summary.bad(row, str(error), error.settings)
        else:
            runs.good(row.where, fields, raw_example)
            yield _place_example(example, row.where, cluster, row.fields if keep_columns else {})
    runs.close()
    if keep_columns:
        summary.counts.unread_fields.clear()
    if strict:
        columns.check()
    if summary.counts.bad_rows and on_bad_row is OnBadRow.fail:
        raise summary.refusal()


def _place_example(example: Example, where: str, cluster: str, columns: Mapping[str, Any]) -> Example:
    # Not dataclasses.replace, which takes three times as long.
    return Example(
        example.messages, example.format, where, example.tools, example.rejected, example.text, cluster,
        example.facts, example.arrays, columns, example.options,
    )  # fmt: skip


def _check_length(example: Example, longest: int | None) -> None:
    """Refuse a row before it is tokenized.

    Raises:
        FrameworkError: it is longer than `longest`.
    """
    if longest is not None and (size := characters(example)) > longest:
        raise FrameworkError(
            f"the row has {size:,} characters, more than data.max_row_characters={longest}: split it into several "
            "rows, or raise the limit"
        )


def characters(example: Example) -> int:
    """Return about how many characters of a row are tokenized."""
    size = len(example.text or "")
    for turn in (*example.messages, *example.rejected):
        size += len(turn.content) + len(turn.reasoning_content or "")
        size += len(str(turn.tool_calls)) if turn.tool_calls else 0
    return size


def with_system_prompt(example: Example, prompt: str | None) -> Example:
    """Put a system prompt before a conversation that has none."""
    if prompt is None or example.text is not None or (example.messages and example.messages[0].role == "system"):
        return example
    return dataclasses.replace(example, messages=(Message("system", prompt), *example.messages))


def stripped(example: Example) -> Example:
    """Strip every turn; plain text does not change."""
    messages, rejected = (
        tuple(
            dataclasses.replace(turn, content=turn.content.strip()) if isinstance(turn.content, str) else turn
            for turn in turns
        )
        for turns in (example.messages, example.rejected)
    )
    return dataclasses.replace(example, messages=messages, rejected=rejected)
