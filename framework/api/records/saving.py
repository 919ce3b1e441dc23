"""Records as JSON and back.

Paths are written as strings, relative to the run folder where they lie in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from framework.util.files import write_whole

Record = TypeVar("Record")


def to_json(record: Any) -> Any:
    """Turn a record, or a value in one, into what `json` can write."""
    from cattrs.preconf.json import make_converter  # noqa: PLC0415 - 60 ms that --help need not pay

    return make_converter(omit_if_default=False).unstructure(record)


def save(record: Any, file: Path) -> None:
    """Write a record as JSON; the file is complete or absent, never half written."""
    write_whole(file, json.dumps(to_json(record), indent=1, ensure_ascii=False) + "\n")


def load(kind: type[Record], file: Path) -> Record:
    """Read a record that `save` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: the file is not such a record.
    """
    from cattrs.errors import BaseValidationError  # noqa: PLC0415 - as above
    from cattrs.preconf.json import make_converter  # noqa: PLC0415

    try:
        return make_converter().structure(json.loads(file.read_text(encoding="utf-8")), kind)
    except (BaseValidationError, ValueError, TypeError) as error:
        message = f"{file} is no {kind.__name__} of this version"
        raise ValueError(message) from error
