"""Tool calls and tool schemas, in the spellings of the field.

In Arrow and Parquet all objects of a column have all keys, null where a row has none, so null is left out of calls and
schemas that come as objects. One that comes as JSON text is taken as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework import FrameworkError
from framework.api import ToolCall
from framework_plugins.formats.formats.values import Fields, is_object, kind_of, parsed, text

EMPTY: tuple[Any, ...] = (None, "", [])
NAMES = ("tools", "functions")


def calls(turn: Fields) -> tuple[ToolCall, ...]:
    """Return the calls of an assistant's turn: `tool_calls`, or one `function_call` of the older spelling.

    Raises:
        FrameworkError: one is no call.
    """
    listed, single = turn.get("tool_calls"), turn.get("function_call")
    if listed not in EMPTY:
        return calls_in(listed, "tool_calls")
    return calls_in(single, "function_call") if single not in EMPTY else ()


def calls_in(value: Any, name: str) -> tuple[ToolCall, ...]:
    """Read one call or a list of calls, as objects or as JSON text."""
    decoded = parsed(value, name) if isinstance(value, str) else value
    listed = [decoded] if is_object(decoded) else decoded
    if not isinstance(listed, list) or not listed or not all(is_object(item) for item in listed):
        raise FrameworkError(
            f"needs a call, {{name, arguments}}, or a list of calls in '{name}', found {kind_of(decoded)}"
        )
    return tuple(_call(item, exact=isinstance(value, str)) for item in listed)


def _call(item: Fields, *, exact: bool) -> ToolCall:
    function = item.get("function")
    call: Fields = function if isinstance(function, Mapping) else item
    name, call_id = text(call, "name", "the call"), call.get("id") or item.get("id")
    if not name:
        raise FrameworkError("needs the name of a function in 'name', found empty text")
    if "arguments" not in call:
        raise FrameworkError(f"needs the field 'arguments'; the call of {name} has {', '.join(map(str, call))}")
    return ToolCall(name, _arguments(call["arguments"], exact=exact), call_id if isinstance(call_id, str) else "")


def _arguments(value: Any, *, exact: bool) -> Mapping[str, Any]:
    if value is None or value == "":
        return {}
    decoded = parsed(value, "arguments") if isinstance(value, str) else value
    arguments = decoded if exact or isinstance(value, str) else without_null(decoded)
    if not isinstance(arguments, dict):
        raise FrameworkError(f"needs an object, or one as JSON text, in 'arguments', found {kind_of(arguments)}")
    return arguments


def without_null(value: Any) -> Any:
    """Copy a value, leaving out the keys of objects that are null."""
    if is_object(value):
        return {str(key): without_null(part) for key, part in value.items() if part is not None}
    return [without_null(part) for part in value] if isinstance(value, list) else value


def schemas(fields: Fields) -> tuple[Mapping[str, Any], ...]:
    """Return the schemas in `tools` (or `functions`), each as {type: function, function: {name, …}}.

    Raises:
        FrameworkError: they are no list of schemas, nor one as JSON text.
    """
    for name in NAMES:
        if name in fields and (value := fields[name]) not in EMPTY:
            return _schemas(value, name)
    return ()


def _schemas(value: Any, name: str) -> tuple[Mapping[str, Any], ...]:
    listed = parsed(value, name) if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise FrameworkError(f"needs a list of tool schemas, or one as JSON text, in '{name}', found {kind_of(listed)}")
    exact = isinstance(value, str)
    return tuple(_schema(item, name, exact=exact) for item in listed)


def _schema(item: Any, name: str, *, exact: bool) -> Mapping[str, Any]:
    schema = parsed(item, name) if isinstance(item, str) else item if exact else without_null(item)
    if isinstance(schema, dict) and isinstance(schema.get("function"), dict):
        return schema
    if isinstance(schema, dict) and isinstance(schema.get("name"), str):
        return {"type": "function", "function": schema}
    raise FrameworkError(f"needs tool schemas with a name in '{name}', found {kind_of(schema)}")
