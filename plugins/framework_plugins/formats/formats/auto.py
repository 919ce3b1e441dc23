"""`format=auto`: the format of each row by its fields."""

from __future__ import annotations

from framework import FrameworkError
from framework.api import Example, FallbackFormatter, FormatConfig, Formatter, components
from framework_plugins.formats.formats import shapes
from framework_plugins.formats.formats.misread import check_misread
from framework_plugins.formats.formats.names import DIALOGUE, NEEDS
from framework_plugins.formats.formats.turns import first_turn
from framework_plugins.formats.formats.values import Fields, names


class Auto:
    """Asks every registered format which rows it recognises; a row that fits none or several is refused.

    One that says `fallback` of itself, plain text, is taken only where no other fits. A row that none fits is read by
    the shapes of published data, where it has one clear reading. One that a format fits and that would be misread, as
    ready-rendered text would be, is refused with the override that reads it all the same.
    """

    def __init__(self, config: FormatConfig) -> None:
        self.config = config
        self.formats: dict[str, Formatter] = {
            name: component.load()(component.schema())
            for name, component in components("format").items()
            if name != "auto"
        }
        self._fallback = {
            name
            for name, formatter in self.formats.items()
            if isinstance(formatter, FallbackFormatter) and formatter.fallback
        }
        self._asked = [(name, formatter.matches) for name, formatter in self.formats.items()]

    def fitting(self, fields: Fields) -> list[str]:
        """Return the names of the formats that fit; a single one where the row is unambiguous."""
        names = [name for name, matches in self._asked if matches(fields)]
        if len(names) > 1:
            return [name for name in names if name not in self._fallback] or names
        return names

    def recognise(self, fields: Fields) -> tuple[str, Fields]:
        """Return the name of the one format that fits, and the fields by its names.

        Raises:
            FrameworkError: none or several fit, or the one that fits would misread the row.
        """
        found = self._found(fields)
        if found is not None:
            check_misread(*found, shapes.plain_names(fields) or fields)
            return found
        fitting = self.fitting(fields)
        have = f"a row with the fields {names(fields) or '(none)'}"
        if fitting:
            message = f"several formats fit ({', '.join(fitting)}) {have}: set format={'|'.join(fitting)}"
        else:
            known = shapes.advice(fields)
            more = (
                f": {known}"
                if known
                else (
                    ': say which field is which, "format.columns={instruction: FIELD, output: FIELD}", '
                    f"or set format={'|'.join(self.formats)}"
                )
            )
            message = f"no format fits {have}{self._reason(fields)}{more}"
        raise FrameworkError(message)

    def _found(self, fields: Fields) -> tuple[str, Fields] | None:
        """Return the format that fits and the fields by its names; None where none or several fit."""
        fitting = self.fitting(fields)
        if fitting:
            return (fitting[0], fields) if len(fitting) == 1 else None
        plain = shapes.plain_names(fields)
        if plain is not None and (fitting := self.fitting(plain)):
            return (fitting[0], plain) if len(fitting) == 1 else None
        shape = shapes.shaped(fields) or (None if plain is None else shapes.shaped(plain))
        return shape if shape is not None and shape[0] in self.formats else None

    def _reason(self, fields: Fields) -> str:
        """Say what the format that comes closest lacks; empty where none comes close."""
        near = {
            name: sum(any(one in fields for one in group) for group in groups) / len(groups)
            for name, groups in NEEDS.items()
            if name in self.formats
        }
        best = max((name for name in near if near[name]), key=near.__getitem__, default=None)
        if best == "chatml" and any("from" in (first_turn(fields, name) or ()) for name in DIALOGUE):
            best = "sharegpt"
        if best is None:
            return ""
        try:
            self.formats[best].example(fields)
        except FrameworkError as error:
            return f" ({str(error).partition('; the row has')[0]})"
        return ""

    def matches(self, fields: Fields) -> bool:
        """Whether the row has one format, though something in it may be wrong."""
        try:
            return self._found(fields) is not None
        except FrameworkError:
            return True

    def example(self, fields: Fields) -> Example:
        """Let the format that fits do it."""
        name, known = self.recognise(fields)
        return self.formats[name].example(known)
