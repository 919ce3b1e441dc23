"""`format=decide`: rows of a text and its label, in the shapes of published sets, as a question with options.

With `format.labels=[negative, positive]`, with options of its own, and with yes or no:

    {"text": "Great film", "label": 1}
    {"question": "…", "choices": ["Lima", "Quito"], "answer": 0}
    {"passage": "…", "question": "…", "answer": true}

The right option becomes the answer that is learned, and all of them `Example.options`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from framework import FrameworkError
from framework.api import Example, Formatter, Message, short_repr, unknown
from framework_plugins.decide.config import OPTIONS, TEXT, DecideFormatConfig

TEXT_PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("passage", "question"),
    ("context", "question"), ("subject", "body"), ("title", "text"),
)  # fmt: skip
"""Fields that are one text together."""
TEXT_FIELDS = (
    "text", "sentence", "question", "content", "review", "comment", "message", "tweet", "document", "body", "query",
    "utterance", "prompt", "input", "ctx",
)  # fmt: skip
LABEL_FIELDS = (
    "label_text", "label_name", "label", "labels", "category", "class", "intent", "sentiment", "target", "answer",
    "answerKey", "answer_key", "correct",
)  # fmt: skip
"""Names come before ids, if a row has both."""
OPTION_FIELDS = ("options", "choices", "candidates", "endings")
FALSE, TRUE = YES_NO = ("no", "yes")
JOINT = ","
"""Separates the labels in an option that joins several."""
SKIP = "data.on_bad_row=skip leaves such rows out"
Fields = Mapping[str, Any]


class Decide(Formatter):
    """Reads a text, its options, and the one that is right."""

    def __init__(self, config: DecideFormatConfig) -> None:
        self.config = config

    def matches(self, fields: Fields) -> bool:
        """Whether a row has a text and a label, and the labels are known: `format=auto` does not guess them."""
        return bool(self.config.labels) and bool(_text(fields)) and label_field(fields) is not None

    def example(self, fields: Fields) -> Example:
        """Return the question, and the right option as its answer.

        Raises:
            FrameworkError: the text, the options or a label among them is missing.
        """
        question, options = self.question(fields)
        name = label_field(fields)
        if name is None:
            raise FrameworkError(f"format decide needs a label, in one of the fields {', '.join(LABEL_FIELDS)}: {SKIP}")
        answer = self._answer(fields, name, options)
        return Example((question, Message("assistant", answer)), "decide", options=options)

    def question(self, fields: Fields) -> tuple[Message, tuple[str, ...]]:
        """Return the question of a row that may have no label, and its options.

        Raises:
            FrameworkError: the text or the options are missing.
        """
        text = _text(fields)
        if not text.strip():
            fix = "name its field with format.columns={text: FIELD}, or write a text"
            raise FrameworkError(f"format decide needs some text, and the row has none: {fix}; {SKIP}")
        options = self._options(fields)
        values = {TEXT: text, OPTIONS: "\n".join(f"- {option}" for option in options)}
        # In one pass: a text may hold the word for the options.
        content = re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], self.config.question)
        return Message("user", content), options

    def _options(self, fields: Fields) -> tuple[str, ...]:
        own, _ = _own_options(fields)
        name = label_field(fields)
        if not own and not self.config.labels and name is not None and isinstance(fields[name], bool):
            return YES_NO
        options = own or tuple(option.strip() for option in self.config.labels)
        if not options:
            raise FrameworkError(
                "format decide needs the options: set format.labels=[...] with the names of all labels"
            )
        if len(options) == 1:
            raise FrameworkError(f"format decide needs two options or more, and there is one, '{options[0]}'")
        if not all(options):
            raise FrameworkError(f"format decide found an empty option among {short_repr(list(options))}: name each")
        if len(set(options)) < len(options):
            twice = next(option for option in options if options.count(option) > 1)
            raise FrameworkError(f"format decide found the option {short_repr(twice)} twice: each has to be different")
        return options

    def _answer(self, fields: Fields, name: str, options: Sequence[str]) -> str:
        """Return the option that a label means: by its name, its id, or its key among the row's own options."""
        value = _joined(fields[name], options)
        text = "" if value is None else str(value).strip()
        named = {key.strip(): option.strip() for key, option in self.config.names.items()}.get(text, text)
        if named in options and not isinstance(value, bool):
            return named
        if isinstance(value, bool) and len(options) == len(YES_NO):
            return options[value]
        _, keys = _own_options(fields)
        if text in keys:
            return options[keys.index(text)]
        folded = [option for option in options if option.casefold() == named.casefold()]
        if len(folded) == 1:
            return folded[0]
        # A scale has no ids: 0 is not the first of 1 to 5.
        if re.fullmatch(r"\d+(\.0)?", text) and not all(option.isdigit() for option in options):
            if (index := int(float(text))) < len(options):
                return options[index]
            raise FrameworkError(
                f"format decide found the label id {text} in '{name}', and the {len(options)} options have the ids 0 "
                f"to {len(options) - 1}: add its name to format.labels, or set format.names={{'{text}': OPTION}}"
            )
        if re.fullmatch("-1(\\.0)?|", text):
            raise FrameworkError(f"format decide found no label in '{name}', it is {short_repr(fields[name])}: {SKIP}")
        if _own_options(fields)[0] and re.fullmatch("[A-Z]", text) and (index := ord(text) - ord("A")) < len(options):
            return options[index]
        raise FrameworkError(f"format decide: {unknown('label', text, options)} It is in '{name}'")


def label_field(fields: Fields) -> str | None:
    """Return the field with the label of a row; None if it has none."""
    return next((name for name in LABEL_FIELDS if fields.get(name) is not None), None)


def label_text(fields: Fields) -> str:
    """Return the label of a row as text; empty without one, and for a row with options of its own."""
    name = label_field(fields)
    value = None if name is None else _joined(fields[name], ())
    return "" if value is None or isinstance(value, bool) or _own_options(fields)[0] else str(value).strip()


def renamed(fields: Fields, columns: Mapping[str, str | None]) -> Fields:
    """Apply the entries of `format.columns` that name a column or leave one out.

    Raises:
        FrameworkError: an entry joins columns or leads into an object, and the row has not its result.
    """
    plain = {name: value for name, value in fields.items() if name not in columns or columns[name] is not None}
    for name, column in columns.items():
        if column is None:
            continue
        if column in fields:
            plain[name] = fields[column]
        elif name not in fields and {*column} & {*"{."}:
            raise FrameworkError(f"format.columns.{name}={column} is not one column: give the row a field '{name}'")
    return plain


def _text(fields: Fields) -> str:
    pair = next((pair for pair in TEXT_PAIRS if all(isinstance(fields.get(name), str) for name in pair)), ())
    if all(fields[name].strip() for name in pair) and pair:
        return "\n".join(f"{name.rstrip('0123456789').capitalize()}: {fields[name].strip()}" for name in pair)
    return next((fields[name].strip() for name in TEXT_FIELDS if isinstance(fields.get(name), str)), "")


def _own_options(fields: Fields) -> tuple[tuple[str, ...], list[str]]:
    """Return the options of a row, and the keys that its label may use for them; both empty if it has none."""
    value = next((fields[name] for name in OPTION_FIELDS if fields.get(name) is not None), None)
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(value)  # a cell of a table
        except ValueError as error:
            raise FrameworkError(f"format decide found options that are not JSON: {short_repr(value)}") from error
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        keys = [str(key) for key in value.get("label", ())]
        return tuple(str(option).strip() for option in value["text"]), keys
    if isinstance(value, list):
        return tuple(str(option).strip() for option in value), []
    return (), []


def _joined(value: Any, options: Sequence[str]) -> Any:
    """Return a label; a list of several becomes the option that joins them, in whatever order that has them.

    Which labels occur together is learned with it: each set of labels is an option (Tsoumakas & Katakis 2007,
    International Journal of Data Warehousing and Mining 3, 1-13, "label powerset").
    """
    if not isinstance(value, list):
        return value
    labels = sorted(str(label).strip() for label in value)
    if len(labels) == 1:
        return value[0]
    same = (option for option in options if sorted(part.strip() for part in option.split(JOINT)) == labels)
    return next(same, f"{JOINT} ".join(labels))
