"""`python -m framework reference FOLDER [--package NAME]`: write the reference of the settings, and JSON Schemas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.cli.commands import ReferenceCommandConfig
from framework.config.reference import PAGE, write
from framework.util.command import CommandParser
from framework.util.errors import FrameworkError


class ReferenceCommand:
    """Writes all settings, of everything installed or of one distribution."""

    def __init__(self, config: ReferenceCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Write the files and name them."""
        parser = CommandParser("reference", ReferenceCommandConfig.__doc__)
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to write to")
        parser.add_argument(
            "--package", metavar="NAME", help="only what this distribution provides; default: everything"
        )
        parsed = parser.read(arguments)
        folder: Path = parsed.folder
        try:
            written = write(folder, parsed.package)
        except OSError as error:
            raise FrameworkError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
        print(f"{folder / PAGE}, and {len(written) - 1} schemas beside it")
        return 0
