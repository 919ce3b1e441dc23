"""JSON Schemas: read from a file or given as a mapping, checked as a whole before a run, and used without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import missing, pip_command, summarize_error
from framework_plugins.evals.config import EXTRA


def read_schema(source: object) -> Any:
    """Return a schema: the content of a file, or a mapping as it is.

    Raises:
        FrameworkError: the file cannot be read or is not JSON, or the value is neither a path nor a mapping.
    """
    if isinstance(source, Mapping | bool):
        return source
    if not isinstance(source, str):
        raise FrameworkError(f"a schema is a file or named values, and this is a {type(source).__name__}")
    path = Path(source).expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        siblings = sorted(item.name for item in path.parent.glob("*.json")) if path.parent.is_dir() else []
        hint = f". Beside it: {', '.join(siblings[:5])}" if siblings else ""
        raise FrameworkError(f"{path} cannot be read ({error.strerror or summarize_error(error)}){hint}") from error
    except json.JSONDecodeError as error:
        raise FrameworkError(f"{path}:{error.lineno}: not valid JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise FrameworkError(f"{path} is not valid JSON: {summarize_error(error)}") from error


def make_validator(schema: Any) -> Any:
    """Return a validator of `jsonschema` for a schema; `$schema` picks the draft, 2020-12 if it is missing.

    Raises:
        FrameworkError: it is not a valid schema, or refers to one that is not part of it, or the library is missing.
    """
    if missing(["jsonschema"]):
        raise FrameworkError(f"a schema needs jsonschema: {pip_command([EXTRA])}")
    import jsonschema  # noqa: PLC0415 - of an extra
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise FrameworkError(f"not a valid JSON Schema: at {error.json_path}: {error.message}") from error
    for reference in _unresolvable_references(schema):
        raise FrameworkError(
            f"the schema refers to '{reference}', which is not in it: nothing is fetched, so put it under '$defs'"
        )
    return kind(schema, registry=Registry())  # an empty registry: the library's own would fetch over the network


def _unresolvable_references(schema: Any) -> Iterator[str]:
    """Give the references that lead nowhere."""
    from referencing import Registry, Resource  # noqa: PLC0415 - as above
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    root: Resource[Any] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry()
    # A stack, not recursion: a schema may be nested deeper than Python recurses.
    open_parts = [(root, registry.resolver_with_root(root))]
    while open_parts:
        part, resolver = open_parts.pop()
        reference = part.contents.get("$ref") if isinstance(part.contents, Mapping) else None
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                yield reference
        open_parts += [(inner, resolver.in_subresource(inner)) for inner in part.subresources()]
