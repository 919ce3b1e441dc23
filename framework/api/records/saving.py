"""Records as JSON and back.

Paths are written as strings, relative to the run folder if they are inside it. cattrs reads records by their types
only, so they stay plain dataclasses; pydantic would need a base class, and takes longer to import.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from framework.api.selection import as_plain
from framework.util.files import read_text, write_atomically

if TYPE_CHECKING:
    from cattrs.preconf.json import JsonConverter

Record = TypeVar("Record")
FORMER_NAME = "former name"
"""The key of a field's metadata under which its name in files of earlier versions is."""


def save(record: Any, file: Path) -> None:
    """Write a record as JSON; the file is complete or absent, never half written."""
    write_atomically(file, json.dumps(as_plain(record), indent=1, ensure_ascii=False) + "\n")


def load(kind: type[Record], file: Path) -> Record:
    """Read a record that `save` wrote.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is not such a record.
    """
    from cattrs.errors import BaseValidationError  # noqa: PLC0415 - 60 ms that --help need not pay

    try:
        return _converter().structure(json.loads(read_text(file)), kind)
    except (BaseValidationError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} does not match {kind.__name__} of this version") from error


@functools.cache
def _converter() -> JsonConverter:
    from cattrs.preconf.json import make_converter  # noqa: PLC0415 - as above

    converter = make_converter(forbid_extra_keys=True)  # a field of another version must not vanish
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, Enum), lambda name, kind: kind[name]
    )
    converter.register_structure_hook_factory(
        lambda kind: bool(_former_names(kind)), functools.partial(_renaming, converter=converter)
    )
    return converter


def _former_names(kind: Any) -> dict[str, str]:
    """Return the names of the fields of a record by their former names."""
    fields_of = fields(kind) if isinstance(kind, type) and is_dataclass(kind) else ()
    return {each.metadata[FORMER_NAME]: each.name for each in fields_of if FORMER_NAME in each.metadata}


def _renaming(kind: Any, converter: JsonConverter) -> Callable[[dict[str, Any], Any], Any]:
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415 - as above

    names, structure = _former_names(kind), make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
    return lambda saved, _: structure({names.get(name, name): value for name, value in saved.items()}, kind)
