"""`format=auto`: the format of each row by its fields."""

from __future__ import annotations

from framework import FrameworkError, Selection
from framework.api import Example, FormatConfig, Formatter, Guard, plugins, short_repr
from framework_plugins.formats.formats import shapes
from framework_plugins.formats.formats.advice import advice, readings
from framework_plugins.formats.formats.misread import check_misread
from framework_plugins.formats.formats.names import DIALOGUE_FIELDS, NEEDS
from framework_plugins.formats.formats.turns import first_turn
from framework_plugins.formats.formats.values import SKIP, Fields, MissingFieldError, names


class Auto(Formatter):
    """Asks every registered format which rows it recognises; a row that fits none or several is refused.

    One that says `fallback` of itself, plain text, is taken only if no other fits. A row that none fits is read by
    the shapes of published data, if it has one clear reading. One that a format fits and that would be misread, as
    ready-rendered text would be, is refused with the override that reads it all the same.
    """

    def __init__(self, config: FormatConfig) -> None:
        self.config = config
        self.formats: dict[str, Formatter] = {
            name: Selection(component, component.schema()).create()
            # Of all plugins: a format that somebody adds is recognised too.
            for name, component in plugins().components("format").items()
            if name != "auto"
        }
        self._fallback = {name for name, formatter in self.formats.items() if formatter.fallback}
        self._matchers = [(name, formatter.matches) for name, formatter in self.formats.items()]

    def fitting(self, fields: Fields) -> list[str]:
        """Return the names of the formats that fit; a single one if the row is unambiguous."""
        names = [name for name, matches in self._matchers if matches(fields)]
        if len(names) > 1:
            return [name for name in names if name not in self._fallback] or names
        return names

    # Two readings of a row, or one that would misread it, are refused instead of guessed.
    def recognise(self, fields: Fields) -> tuple[str, Fields]:
        """Return the name of the one format that fits, and the fields by its names.

        Raises:
            FrameworkError: none or several fit.
        """
        match = self._match(fields)
        if match is not None:
            return match
        fitting, settings = self.fitting(fields), {}
        have = f"a row with the fields {names(fields) or '(none)'}"
        if fitting:
            message = f"several formats fit ({', '.join(fitting)}) {have}: set format={'|'.join(fitting)}"
        else:
            reason = self._reason(fields)
            otherwise = (
                SKIP
                if reason
                else (
                    "write the question and the answer as text, such as {prompt: …, completion: …}, or set "
                    f"format={'|'.join(self.formats)}"
                )
            )
            message = f"no format fits {have}{reason}: {advice(fields) or otherwise}"
            columns = next(readings(fields), None)
            settings = {"format.columns": columns} if columns else {}
        raise FrameworkError(message, settings=settings)

    def _match(self, fields: Fields) -> tuple[str, Fields] | None:
        """Return the format that fits and the fields by its names; None if none or several fit."""
        fitting = self.fitting(fields)
        if fitting:
            return (fitting[0], fields) if len(fitting) == 1 else None
        plain = shapes.plain_names(fields)
        if plain is not None and (fitting := self.fitting(plain)):
            return (fitting[0], plain) if len(fitting) == 1 else None
        shape = shapes.recognize_shape(fields) or (None if plain is None else shapes.recognize_shape(plain))
        return shape if shape is not None and shape[0] in self.formats else None

    def _reason(self, fields: Fields) -> str:
        """Name the fields that the closest format lacks; empty if none comes close."""
        near = {
            name: sum(any(field in fields for field in group) for group in groups) / len(groups)
            for name, groups in NEEDS.items()
            if name in self.formats
        }
        best = max((name for name in near if near[name]), key=near.__getitem__, default=None)
        if best == "chatml" and any("from" in (first_turn(fields, name) or ()) for name in DIALOGUE_FIELDS):
            best = "sharegpt"
        if best is None:
            return ""
        try:
            # The format's own refusal says best what is missing.
            self.formats[best].example(fields)
        except FrameworkError as error:
            missing = error.__cause__
            return f" (format {best} {missing.need})" if isinstance(missing, MissingFieldError) else f" ({error})"
        return ""

    def matches(self, fields: Fields) -> bool:
        """Whether the row has one format, though something in it may be wrong."""
        try:
            return self._match(fields) is not None
        except FrameworkError:
            return True

    def example(self, fields: Fields) -> Example:
        """Read the row by the format that fits."""
        name, format_fields = self.recognise(fields)
        with Guard(f"format={name} cannot read the row"):
            example = self.formats[name].example(format_fields)
        if not isinstance(example, Example):
            raise FrameworkError(f"format={name} returned {short_repr(example)}: return an Example(messages, format)")
        check_misread(name, shapes.plain_names(fields) or fields, example)
        return example
