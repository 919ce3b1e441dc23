"""The first rows are read and formatted before the libraries load, so that their faults are reported in a second."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from framework.api.protocols import Evaluator
from framework.api.records import Example, Prompt, RawData, Row
from framework.api.schema import DataConfig, OnBadRow
from framework.api.selection import Selection
from framework.api.text import as_overrides, fill_in, override_key, this_program
from framework.data import mixture, sources
from framework.data.prompts import formatter_for, to_prompt
from framework.data.rows import ReadSummary, read
from framework.hooks.progress import Counter
from framework.hooks.session import current
from framework.rundir.known import FirstRows
from framework.util.errors import FrameworkError

SECONDS = 0.5
"""How long good rows are tried. Bad ones that end the run are followed by all rows, for a complete message."""
FIRST = 200
"""Rows whose references a plan looks at."""


def try_sources(data: Selection, form: Selection, method: Selection, overrides: Sequence[str] = ()) -> FirstRows:
    """Check the rows of the sources that can check them, and read the first ones.

    All problems are reported together, as far as a setting fixes one so that the next one shows.
    Returns the first training rows of `data`, without mixed-in ones.

    Args:
        data: the option of `data=`, which may mix others in.
        form: the option of `format=`.
        method: the option of `method=`, which refuses rows that it cannot use.
        overrides: those of the run, for the command that fixes several faults.

    Raises:
        FrameworkError: the rows of one are not there, cannot be read, or do not fit the format.
    """
    problems, settings = list[str](), dict[str, Any]()
    first_error: FrameworkError | None = None
    fixed = False
    while True:
        try:
            first_rows, padded = _try(data, form, method)
        except FrameworkError as error:
            first_error = first_error or error
            if str(error) in problems:
                break
            problems.append(str(error))
            if not error.settings or error.settings.items() <= settings.items():
                break
            settings |= error.settings
            data, form = _apply_settings(data, "data", error.settings), _apply_settings(form, "format", error.settings)
        else:
            if padded and problems:
                problems.append(padded)
                settings["format.strip"] = True
            fixed = True
            break
    if first_error is None:
        return first_rows
    if len(problems) == 1 or not fixed:  # no command would read the rows
        raise first_error
    words = [fill_in(word) for word in overrides if override_key(word) not in settings]
    command = this_program(*words, *as_overrides(settings))
    raise FrameworkError("\n".join([*problems, f"all of them at once: {command}"])) from first_error


def _apply_settings(choice: Selection, group: str, settings: Mapping[str, Any]) -> Selection:
    """Return an option with the settings of its group applied."""
    group_settings = {key.partition(".")[2]: value for key, value in settings.items() if key.partition(".")[0] == group}
    return (
        dataclasses.replace(choice, config=dataclasses.replace(choice.config, **group_settings))
        if group_settings
        else choice
    )


def _try(data: Selection, form: Selection, method: Selection) -> tuple[FirstRows, str]:
    """Read the first rows; return their sizes, and the problem with white space in the answers."""
    check: Callable[[Example], None] = method.create().check
    trial = _Trial(data.config, method)
    raw, first_rows = trial.opened(data), FirstRows()
    if raw is not None:
        has_rows = trial.rows(raw.train, form, data.config.max_rows, check, strict=True)
        first_rows = trial.first
        trial.rows(raw.validation, form, None, check)
        trial.rows(raw.prompts, form, None, check if method.config.samples else Example.check_answered)
        trial.check()
        if not has_rows:
            raise no_rows(data, trial.summary)
    for part in mixture.parts(data.config.mix, form):
        mixed = _Trial(data.config, method)  # bad rows may not be drawn: only if all are bad, they end the run
        raw = mixed.opened(part.source)
        if raw is not None and not mixed.rows(raw.train, part.format, part.max_rows, check):
            mixed.check()
    return first_rows, trial.padded


def absent(data: Selection) -> str:
    """Say in one line why the rows of a source are not there; empty if they are, or are fetched only by the run."""
    try:
        sources.check(data.component.name, data.create())
    except FrameworkError as error:
        return str(error).splitlines()[0]
    return ""


def first_references(
    data: Selection, form: Selection, method: Selection, evaluators: Mapping[str, Selection]
) -> list[str]:
    """Return the references of the first prompts of a run, if they can be read at once.

    They are those of the evaluators' own prompts, of the data's, or of the rows that some are held out of.

    Raises:
        FrameworkError: the rows are not there, or cannot be read.
    """
    instances: list[Evaluator] = [choice.create() for choice in evaluators.values()]
    asking = [own for evaluator in instances if (own := evaluator.own_prompts(form)) is not None]
    prompts = [prompt for own in asking for prompt in own]
    source = data.create()
    raw = sources.check(data.component.name, source)
    if raw is not None and asking and not prompts:
        check: Callable[[Example], None] = method.create().check
        prompt_check = check if method.config.samples else Example.check_answered
        parts = ((raw.prompts, prompt_check), (raw.validation, check), (raw.train, check))
        prompts = next(filter(None, (_first_prompts(rows, form, method, check) for rows, check in parts)), [])
    return [prompt.reference for prompt in prompts if prompt.reference is not None]


def _first_prompts(
    rows: Iterable[Row], form: Selection, method: Selection, check: Callable[[Example], None]
) -> list[Prompt]:
    sample, formatter = itertools.islice(rows, FIRST), formatter_for(form, method)
    name = form.component.name
    examples = read(sample, formatter, form.config, OnBadRow.skip, ReadSummary(), name=name, strict=False, check=check)
    return [to_prompt(example) for example in examples if example.text is None]  # plain text asks nothing


class _Trial:
    """Tries rows."""

    def __init__(self, config: DataConfig, method: Selection) -> None:
        self._method = method
        self.summary = ReadSummary()
        self.first = FirstRows()
        """Those that the last call of `rows` has read."""
        self.padded = ""
        self._longest = config.max_row_characters
        self._fatal = config.on_bad_row is OnBadRow.fail

    def opened(self, choice: Selection) -> RawData | None:
        """Check a source, and return its rows if it gives them at once."""
        return sources.check(choice.component.name, choice.create())

    def rows(
        self,
        rows: Iterable[Row],
        choice: Selection,
        max_rows: int | None,
        check: Callable[[Example], None],
        *,
        strict: bool = False,
    ) -> bool:
        """Read and format rows for a moment, and return whether one is good."""
        formatter = formatter_for(choice, self._method)
        end = time.monotonic() + SECONDS
        counted, sample, total = _show_progress(itertools.islice(rows, max_rows), end), _ByteCounter(), 0
        summary, longest = self.summary, self._longest
        examples = read(
            sample.fields(counted), formatter, choice.config, OnBadRow.skip, summary, name=choice.component.name,
            strict=strict, longest=longest, check=check,
        )  # fmt: skip
        for example in examples:
            total += 1
            sample.example(example)
            # Many tokenizers put white space into the last token of the prompt.
            answers = (turn.content for turn in example.messages if turn.role == "assistant")
            if not self.padded and any(answer[:1].isspace() for answer in answers):
                self.padded = f"{example.where}: an answer begins with white space: format.strip=true removes it"
            # A bad row ends the run, and its message counts all of them.
            if time.monotonic() > end and not (summary.counts.bad_rows and self._fatal):
                break
        else:
            sample.first = dataclasses.replace(sample.first, total=total)
        self.first = sample.first
        return total > 0

    def check(self) -> None:
        """Refuse bad rows if they end the run.

        Raises:
            FrameworkError: they do.
        """
        if self.summary.counts.bad_rows and self._fatal:
            raise self.summary.refusal()


class _ByteCounter:
    """Adds up the bytes of the first rows."""

    def __init__(self) -> None:
        self.first = FirstRows()

    def fields(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Give rows, and add the bytes of their fields in a file."""
        for index, row in enumerate(rows):
            if index < FIRST:
                size = len(json.dumps(row.fields, ensure_ascii=False, default=str).encode(errors="replace")) + 1
                self.first = dataclasses.replace(self.first, read_bytes=self.first.read_bytes + size)
            yield row

    def example(self, example: Example) -> None:
        """Add the learned text of a row."""
        totals = self.first
        if totals.rows == FIRST:
            return
        texts = [(message.content or "", message.role == "assistant") for message in example.messages]
        texts += [(example.text, True)] if example.text is not None else []
        sizes = [(len(text.encode(errors="replace")), learned) for text, learned in texts]
        self.first = dataclasses.replace(
            totals,
            rows=totals.rows + 1,
            turns=totals.turns + len(sizes),
            bytes=totals.bytes + sum(size for size, _ in sizes),
            learned_bytes=totals.learned_bytes + sum(size for size, learned in sizes if learned),
        )


def _show_progress(rows: Iterable[Row], end: float) -> Iterator[Row]:
    """Give rows, and show the progress after the time `end`."""
    with ExitStack() as stack:
        counter: Counter | None = None
        for count, row in enumerate(rows, start=1):
            yield row
            if time.monotonic() > end:
                counter = counter or stack.enter_context(current().progress.counting(None, "row", "counting bad rows"))
                counter.move(count)


def no_rows(data: Selection, summary: ReadSummary) -> FrameworkError:
    """Return the error that says that no row is left to train on."""
    bad = summary.counts.bad_rows
    skipped = f": all {bad} are bad, the first is {summary.counts.bad_examples[0]}" if bad else ""
    path = data.config.source()
    name = f"data.path={path}" if path else f"data={data.component.name}"
    return FrameworkError(f"{name} has no rows{skipped or ': give data that has some'}")
