"""The one parser for the arguments of commands, and how a command is typed here.

The parser refuses arguments as everything else is refused: in one line.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from framework.util.errors import FrameworkError, display_path, unknown


class CommandParser(argparse.ArgumentParser):
    """Reads the arguments of `python -m framework COMMAND …`; `--help` prints what is declared.

        parser = CommandParser("shout", "Print a text in capitals.")
        parser.add_argument("text", metavar="TEXT", help="what is printed")
        given = parser.read(arguments)

    Args:
        command: the name of the command.
        about: what the command does, as a rule the docstring of its schema.
        options: further arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, command: str, about: str | None = None, **options: Any) -> None:
        settings: dict[str, Any] = {
            "prog": f"python -m framework {command}".strip(),
            "description": inspect.cleandoc(about or ""),
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        }
        super().__init__(**(settings | options))

    @property
    def option_names(self) -> list[str]:
        """The options that are declared, `--json` for example."""
        return [option for action in self._actions for option in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            FrameworkError: the message, and how the command is typed.
        """
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise FrameworkError(f"{message.removeprefix('argument ').rstrip('.')}. Usage: {usage}")

    def _get_option_tuples(self, option_string: str) -> Any:
        # `allow_abbrev` is for long options only: without this, -c would be -cd.
        return super()._get_option_tuples(option_string) if self.allow_abbrev else []

    def add_overrides(self, meaning: str) -> None:
        """Take overrides, `overrides` of the result: words such as `adapter.r=8` or `~format`."""
        self.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help=meaning)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; options may be before, between and after the other arguments.

        The files of `plugins=[…]` are loaded before a command runs, so a command without overrides passes them over.

        Raises:
            FrameworkError: an argument is missing, unknown or not valid.
        """
        words = list(arguments)
        if not any(action.dest == "overrides" for action in self._actions):
            words = [word for word in words if not word.startswith("plugins=")]
        for word in itertools.takewhile(lambda word: word != "--", words):  # before what is missing is named
            if word.startswith("--") and word.partition("=")[0] not in self.option_names:
                self.error(unknown("option", word.partition("=")[0], self.option_names))
        required = [action for action in self._actions if action.option_strings and action.required]
        for action in required:  # after the other arguments, which may be wrong
            action.required = False
        parsed, remaining = self.parse_known_intermixed_args(words)
        for action in required:
            action.required = True
        if absent := [action.option_strings[0] for action in required if getattr(parsed, action.dest) is None]:
            self.error(f"the following arguments are required: {', '.join(absent)}")
        for word in remaining:
            if word.startswith("-"):
                self.error(unknown("option", word, self.option_names))
        if remaining:
            self.error(f"unexpected argument '{remaining[0]}'")
        for word in getattr(parsed, "overrides", ()):
            if "=" not in word and not word.startswith("~"):
                self.error(f"'{word}' is not an override of the form key=value")
        return parsed


def shell_word(override: str) -> str:
    """Quote an override for a shell, in double quotes if its values have single ones."""
    double = "'" in override and not {*override} & {*'"$`\\!'}
    return f'"{override}"' if double else shlex.quote(override)


def this_program(*words: str) -> str:
    """Return how this program is started from here, with arguments as a shell reads them: `python -m framework`.

    A Python that is not the first one on the path is written out, `.venv/bin/python -m framework`: the command works in
    a shell if no environment is active.
    """
    python = shutil.which("python")
    is_first = python is not None and Path(python) == Path(sys.executable)
    start = f"{'python' if is_first else shlex.quote(display_path(Path(sys.executable)))} -m framework"
    return " ".join([start, *map(shell_word, words)])
