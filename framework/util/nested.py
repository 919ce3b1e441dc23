"""Values inside a row by a path with dots: `inputs.question`, `choices.0.message.content`.

A number counts in a list from 0. A field whose own name has dots comes before a path, and JSON text in a cell is read
as what it holds.

    value_at({"inputs": {"question": "say"}}, "inputs.question")

is `"say"`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

MISSING = object()
"""What `value_at` returns if there is no such value."""
DEEPEST = 8
"""Parts of a path that `nested_values` gives at most."""
Parts = tuple[str, ...]


def value_at(fields: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path, or `MISSING`."""
    if path in fields:
        return fields[path]
    if "." not in path:
        return MISSING
    parts = resolve(fields, path)
    return MISSING if parts is None else _value(fields, parts)


def resolve(fields: Any, path: str) -> Parts | None:
    """Return the keys that a path goes through; None if it leads nowhere."""
    fields = _opened(fields)
    if isinstance(fields, list):
        head, _, tail = path.partition(".")
        if not head.isdecimal() or int(head) >= len(fields):
            return None
        if not tail:
            return (head,)
        below = resolve(fields[int(head)], tail)
        return None if below is None else (head, *below)
    if not isinstance(fields, Mapping):
        return None
    if path in fields:
        return (path,)
    cut = path.rfind(".")
    while cut > 0:  # the longest name first: it may have dots
        if path[:cut] in fields and (below := resolve(fields[path[:cut]], path[cut + 1 :])) is not None:
            return (path[:cut], *below)
        cut = path.rfind(".", 0, cut)
    return None


def others(value: Any, paths: list[Parts], name: str) -> Iterator[tuple[str, Any]]:
    """Give what is left of a value without some paths, each part by its own path; of a list the first that is left."""
    if () in paths:
        return
    value = _opened(value)
    if not paths or not isinstance(value, Mapping | list):
        yield name, value
        return
    items = ((str(at), inner) for at, inner in enumerate(value)) if isinstance(value, list) else value.items()
    count = 0
    for key, inner in items:
        below = [parts[1:] for parts in paths if parts[0] == key]
        count += not below
        if below or count == 1 or not isinstance(value, list):
            yield from others(inner, below, f"{name}.{key}")


def nested_values(fields: Mapping[str, Any], name: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, Any]]:
    """Give the values of a row that are not objects, by their paths; of a list also what its first item holds.

    Args:
        fields: the row, or an object in it.
        name: the path of the object.
        depth: parts that a path may still have.
    """
    for key, value in fields.items():
        inner, path = _opened(value), f"{name}{key}"
        if isinstance(inner, list):
            yield path, inner
            inner, path = (inner[0] if inner else None), f"{path}.0"
            if not isinstance(inner, Mapping):
                yield path, inner
        if not isinstance(inner, Mapping):
            if not isinstance(_opened(value), list):
                yield path, value
        elif depth > 1:
            yield from nested_values(inner, f"{path}.", depth - 1)


def _value(fields: Any, parts: Parts) -> Any:
    for part in parts:
        fields = _opened(fields)
        fields = fields[int(part)] if isinstance(fields, list) else fields[part]
    return fields


def _opened(value: Any) -> Any:
    """Return the object or list that a value holds as JSON text; any other value as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):  # most cells are plain text
        return value
    try:
        inner = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return inner if isinstance(inner, Mapping | list) else value
