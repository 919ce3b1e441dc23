"""`python -m framework reference FOLDER [--package NAME]`: write the reference of the settings, and JSON Schemas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.api.text import usage
from framework.cli.commands import ReferenceCommandConfig
from framework.config.reference import PAGE, write
from framework.util.errors import FrameworkError, unknown

USAGE = usage(ReferenceCommandConfig)
PACKAGE = "--package"


class ReferenceCommand:
    """Writes what can be set, of everything installed or of one distribution."""

    def __init__(self, config: ReferenceCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Write the files and name them."""
        folder, package = _read(arguments)
        try:
            written = write(folder, package)
        except OSError as error:
            message = f"{error.filename or folder} cannot be written: {error.strerror}"
            raise FrameworkError(message) from error
        print(f"{folder / PAGE}, and {len(written) - 1} schemas beside it")  # noqa: T201
        return 0


def _read(arguments: Sequence[str]) -> tuple[Path, str | None]:
    """Return the folder and the package; the files of `plugins=[…]` are loaded already."""
    words = [word for word in arguments if not word.startswith("plugins=")]
    package = None
    for number, word in enumerate(words):
        if word == PACKAGE or word.startswith(f"{PACKAGE}="):
            value = [word.partition("=")[2]] if "=" in word else words[number + 1 : number + 2]
            if not value or not value[0] or value[0].startswith("-"):
                message = f"{PACKAGE} wants the name of a distribution. Usage: {USAGE}"
                raise FrameworkError(message)
            package = value[0]
            words[number : number + (1 if "=" in word else 2)] = []
            break
    for word in words:
        if word.startswith("-"):
            raise FrameworkError(unknown("option", word, [PACKAGE]))
    if len(words) != 1:
        message = f"one folder is to be named. Usage: {USAGE}"
        raise FrameworkError(message)
    return Path(words[0]), package
