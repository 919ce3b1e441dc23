"""`metric=tool_calls`: whether the answer calls the tools that the reference calls, with the same arguments.

The backend reads calls by the parser of the model's chat template, if it has one. In any other answer a call is a JSON
object with a name and arguments, alone, in a list, in tags or in a text, or Python's notation, `weather(city="Lima")`.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from framework.api import Metric
from framework_plugins.evals.config import ToolCallsConfig, is_call

OPENING = re.compile(r"[{\[]")
TAG = re.compile(r"<[^<>]*>")
PYTHON = re.compile(r"\[?[\w.]+\(.*\)\]?", re.DOTALL)
DECODER = json.JSONDecoder()


class ToolCalls(Metric):
    """The share of answers with the right calls."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, _: ToolCallsConfig) -> None:
        """Take no settings."""

    def score(self, answer: str, reference: str | None) -> float:
        """Compare the calls; a reference without one is a text, which the whole answer has to be."""
        reference = reference or ""
        expected = sorted(_json_calls(reference)) if is_call(reference) else []
        return float(sorted(_calls(answer)) == expected if expected else answer.strip() == reference.strip())


def _calls(text: str) -> list[str]:
    """Return the calls in an answer, each in one spelling."""
    return [*_json_calls(text)] or [*_python_calls(TAG.sub("", text).strip())]


def _json_calls(text: str) -> Iterator[str]:
    end = 0
    for start in OPENING.finditer(text):
        if start.start() < end:
            continue
        with suppress(ValueError, RecursionError):
            value, stop = DECODER.raw_decode(text, start.start())
            calls = [_spell_object(candidate) for candidate in (value if isinstance(value, list) else [value])]
            if calls and all(calls):
                yield from calls
                end = stop


def _spell_object(value: Any) -> str:
    """Write a call as an object in one spelling; empty if the value is not a call."""
    value = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return ""
    arguments = value.get("arguments", value.get("parameters"))
    with suppress(ValueError, RecursionError):
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return _spell_call(value["name"], arguments) if isinstance(arguments, Mapping) else ""


def _python_calls(text: str) -> Iterator[str]:
    if not PYTHON.fullmatch(text):
        return
    with suppress(SyntaxError, ValueError, TypeError, RecursionError, MemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in what a model writes
        lines = [line.value for line in ast.parse(text).body if isinstance(line, ast.Expr)]
        for call in (call for line in lines for call in (line.elts if isinstance(line, ast.List) else [line])):
            if isinstance(call, ast.Call) and not call.args:
                arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
                yield _spell_call(ast.unparse(call.func), arguments)


def _spell_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a call with its arguments sorted; 1 and 1.0 are one number, `true` is not a number."""
    plain = json.loads(json.dumps(arguments, default=str), parse_float=_number)
    return json.dumps([name, plain], sort_keys=True)


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value
