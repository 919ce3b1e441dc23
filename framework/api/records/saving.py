"""Records as JSON and back.

Paths are written as strings, relative to the run folder if they are inside it. cattrs reads records by their types
only, so they stay plain dataclasses; pydantic would need a base class, and takes longer to import.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from framework.api.selection import as_plain
from framework.util.files import read_text, write_atomically
from framework.util.redact import redactor

if TYPE_CHECKING:
    from cattrs.preconf.json import JsonConverter

Record = TypeVar("Record")
FORMER_NAME = "former name"
"""The key of a field's metadata under which its name in files of earlier versions is."""
VERBATIM = {"verbatim": True}
"""The metadata of a field that is kept as it is: the texts of rows and answers, and the paths of folders and files."""
MANY = 100
"""Texts in a list that are checked in one piece."""


def save(record: Any, file: Path) -> None:
    """Write a record as JSON, without secrets; the file is complete or absent, never half written."""
    write_atomically(file, json.dumps(as_plain(without_secrets(record)), indent=1, ensure_ascii=False) + "\n")


def without_secrets(value: Any) -> Any:
    """Return a record without secrets in its texts and names, whoever gave them: a plugin, a server, an exception.

    Fields with `VERBATIM` are kept, and so is what is neither a record, nor a list or a mapping of texts.
    """
    return _without_secrets(value, redactor())


def _without_secrets(value: Any, redact: Callable[[Any], Any]) -> Any:
    if isinstance(value, str) and not isinstance(value, Enum):
        safe = redact(value)
        return value if safe == value else safe
    if is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in fields(value) if field.metadata != VERBATIM}
        changed = {name: new for name, old in values.items() if (new := _without_secrets(old, redact)) is not old}
        return replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        pairs = {_without_secrets(key, redact): _without_secrets(part, redact) for key, part in value.items()}
        unchanged = all(pairs.get(key, pairs) is part for key, part in value.items())
        return value if unchanged else pairs
    if type(value) in {list, tuple}:
        texts = [part for part in value if isinstance(part, str)]
        if len(texts) == len(value) > MANY and (joined := "\n".join(texts)) == redact(joined):
            return value
        parts = [_without_secrets(part, redact) for part in value]
        unchanged = all(new is old for new, old in zip(parts, value, strict=True))
        return value if unchanged else type(value)(parts)
    return value


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
    return {field.metadata[FORMER_NAME]: field.name for field in fields_of if FORMER_NAME in field.metadata}


def _renaming(kind: Any, converter: JsonConverter) -> Callable[[dict[str, Any], Any], Any]:
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415 - as above

    names, structure = _former_names(kind), make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
    return lambda saved, _: structure({names.get(name, name): value for name, value in saved.items()}, kind)
