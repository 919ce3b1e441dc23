"""Prompts of the user's own: rows in any format, with or without an answer, from a file or inline; text is a prompt.

    read_prompts("my.jsonl", [], "prompts", form=plan.format)

An answer is the reference. A row may also name one in `reference`, beside `prompt`, `instruction` or a dialogue that
ends with the user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.api.protocols import Formatter
from framework.api.records import Example, Message, Prompt, RawData, Row
from framework.api.records.rows import call_text
from framework.api.selection import Selection
from framework.data.columns import Columns
from framework.data.conversation_checks import check_returned, check_turns
from framework.data.rows import stripped, with_system_prompt
from framework.hooks.session import current
from framework.util.errors import FrameworkError, unknown
from framework.util.guard import Guard

FILES_OPTION = "local_file"
"""The option of `data=` that reads files."""
AUTO = "auto"
"""The option of `format=` for rows that the run's own format cannot read."""
ANSWER_FIELDS = {"prompt": "completion", "instruction": "output"}
"""The field that asks, and the one in which formats look for the answer: a prompt may do without."""
SHOWN_ROWS = 5
"""Rows that cannot be read and are named."""


def read_prompts(
    file: str | None, values: Sequence[Any], setting: str, *, form: Selection | None, name: str | None = None
) -> list[Prompt]:
    """Read the prompts of a file or, without one, of texts or rows; empty without either.

    Args:
        file: a file of any kind that `data=local_file` reads.
        values: texts and rows.
        setting: the setting that has the values.
        form: the format of the run, whose system prompt is used; None for `auto`.
        name: the format of the prompts, if it is another one.

    Raises:
        FrameworkError: the file or the format does not exist, the file holds no prompt, or a row is not one; names the
            rows.
    """
    if file is None and not values:
        return []
    if form is None:
        auto = current().plugins.components("format")[AUTO]
        form = Selection(auto, auto.schema())
    form = chosen_format(name, form)
    if file is not None:
        return _prompts_from_file(file, form)
    return _parse_prompts([_make_row(value, f"{setting}[{index}]") for index, value in enumerate(values)], form)


def _prompts_from_file(path: str, form: Selection) -> list[Prompt]:
    if Path(path).expanduser().is_dir():
        raise FrameworkError("this is a folder; give one of the files in it")
    options = current().plugins.components("data")
    if FILES_OPTION not in options:
        raise FrameworkError(unknown("data option", FILES_OPTION, options))
    raw: RawData = Selection(options[FILES_OPTION], options[FILES_OPTION].schema(path=path)).create().load()
    prompts = _parse_prompts(raw.train, form)
    if not prompts:
        raise FrameworkError("there is no prompt in the file: it is empty")
    return prompts


def _make_row(entry: Any, where: str) -> Row:
    if isinstance(entry, str):
        return Row({"text": entry}, where)
    if isinstance(entry, Mapping):
        return Row({str(name): value for name, value in entry.items()}, where)
    return Row({}, where, f"{entry!r} is neither text nor a row: put text into quotation marks")


def chosen_format(name: str | None, form: Selection) -> Selection:
    """Return the format `name` with the run's system prompt; the run's own `form` without a name.

    Raises:
        FrameworkError: there is no such format.
    """
    if name is None:
        return form
    options = current().plugins.components("format")
    if name not in options:
        raise FrameworkError(unknown("format option", name, options))
    settings = {name: getattr(form.config, name) for name in ("system_prompt", "strip", "cluster")}
    return Selection(options[name], options[name].schema(**settings))


def _parse_prompts(rows: Iterable[Row], form: Selection) -> list[Prompt]:
    reader, prompts, problems = PromptReader(form), list[Prompt](), list[str]()
    for row in rows:
        try:
            prompts.append(reader.prompt(row))
        except FrameworkError as error:
            problems.append(f"{row.where}: {error}")
    if problems:
        remainder = [f"and {len(problems) - SHOWN_ROWS} more rows"] if len(problems) > SHOWN_ROWS else []
        raise FrameworkError("\n".join([*problems[:SHOWN_ROWS], *remainder]))
    return prompts


class PromptReader:
    """Turns rows into prompts."""

    def __init__(self, form: Selection) -> None:
        self.settings = form.config
        self.columns = Columns(form.config)
        auto = current().plugins.components("format").get(AUTO)
        formatter: Formatter = form.create()
        self.formats = {form.component.name: formatter}
        if auto is not None and form.component != auto:
            self.formats[AUTO] = auto.load()(auto.schema())

    def prompt(self, row: Row) -> Prompt:
        """Return the prompt of a row.

        Raises:
            FrameworkError: it cannot be read, or asks nothing.
        """
        if row.problem:
            raise FrameworkError(row.problem)
        fields, cluster = self.columns.read(row.fields)
        example = with_system_prompt(self._example(fields), self.settings.system_prompt)
        example = stripped(example) if self.settings.strip else example
        answered = bool(example.messages) and example.messages[-1].role == "assistant"
        turns = example.messages[:-1] if answered else example.messages
        reference = (_reference(example.messages[-1]) if answered else "") or _named_reference(fields)
        if not turns or turns[-1].role not in {"user", "tool"} or not turns[-1].content.strip():
            raise FrameworkError(
                "it asks nothing: the last turn before the answer has to be the user's, with some text"
            )
        check_turns(dataclasses.replace(example, messages=(*turns, Message("assistant", reference))))
        calls = example.messages[-1].tool_calls if answered else ()
        return Prompt(turns, reference or None, example.tools, row.where, cluster, calls=calls, options=example.options)

    def _example(self, fields: Mapping[str, Any]) -> Example:
        """Read a row, as it is or with an answer, by the first format that fits; the last one's error is raised."""
        for name, form in self.formats.items():
            for candidate in _answer_candidates(fields):
                if form.matches(candidate):
                    return _text_to_turn(self._read(name, candidate))
        return _text_to_turn(self._read([*self.formats][-1], fields))

    def _read(self, name: str, fields: Mapping[str, Any]) -> Example:
        with Guard(f"format={name} cannot read the row"):
            example = self.formats[name].example(fields)
        check_returned(f"format={name}", example)
        return example


class Questions:
    """A format for a method that draws the answers itself: a row without an answer ends with its question.

    All but reading a row is the format's own.
    """

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._formatter, name)

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the format fits the row, or the row with an answer."""
        return any(map(self._formatter.matches, _answer_candidates(fields)))

    def example(self, fields: Mapping[str, Any]) -> Example:
        """Read the row, or the row with an empty answer, which is removed again."""
        for candidate in _answer_candidates(fields):
            if self._formatter.matches(candidate):
                example = self._formatter.example(candidate)
                return example if candidate is fields else dataclasses.replace(example, messages=example.messages[:-1])
        return self._formatter.example(fields)


def formatter_for(form: Selection, method: Selection) -> Formatter:
    """Return the format of rows as a method needs them."""
    formatter: Formatter = form.create()
    return Questions(formatter) if method.config.samples else formatter


def _answer_candidates(fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give a row, and the row with an empty answer in each field that its format requires."""
    yield fields
    for asks, answers in ANSWER_FIELDS.items():
        if fields.get(asks) is not None and fields.get(answers) is None:
            yield {**fields, answers: ""}


def _named_reference(fields: Mapping[str, Any]) -> str:
    """Return the field `reference` of a row.

    Raises:
        FrameworkError: it is not text.
    """
    named = fields.get("reference")
    if named is not None and not isinstance(named, str):
        raise FrameworkError(f"needs text in 'reference', found {named!r}")
    return named or ""


def _reference(answer: Message) -> str:
    """Return the content and the calls of an answer; empty if nothing of it is visible."""
    text = "\n".join(part for part in (answer.content, call_text(answer.tool_calls)) if part)
    return text if text.strip() else ""


def _text_to_turn(example: Example) -> Example:
    """Turn plain text into a turn of the user."""
    if example.text is None:
        return example
    return Example((Message("user", example.text),), example.format)


def to_prompt(example: Example) -> Prompt:
    """Return the turns before the last answer, with that answer as the reference unless it is empty or unwanted."""
    attributes = example.tools, example.where, example.cluster, example.facts, example.columns
    if example.is_prompt:
        return Prompt(example.messages, None, *attributes, options=example.options)
    *turns, answer = example.messages
    reference = None if example.facts.get("desirable") == 0 else _reference(answer) or None
    return Prompt(tuple(turns), reference, *attributes, answer.tool_calls, example.options)
