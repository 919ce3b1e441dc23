"""A small part of Go's `text/template`: as much as `template.py` writes, to prove what it writes before it is exported.

Knows text, `{{-`, `if`, `else if`, `else`, `range $i, $_ :=`, variables, fields, constants, and the functions that are
called `eq`, `ne`, `and`, `not`, `len` and `slice`. The tests compare it with Go itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ACTION = re.compile(r'(?:[ \t\r\n]*\{\{-|\{\{) ((?:"(?:[^"\\]|\\.)*"|[^"])*?) \}\}', re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()]+')
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "eq": lambda first, *others: first in others,
    "ne": lambda first, second: first != second,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "not": lambda value: not value,
    "len": len,
    "slice": lambda values, start: values[start:],
}


@dataclass
class _Block:
    """What stands between an action that opens a block and its end; `branches` of an if, with their conditions."""

    action: str
    branches: list[tuple[str, list[Any]]] = field(default_factory=list)


def execute(template: str, values: Mapping[str, Any]) -> str:
    """Run a template.

    Args:
        template: uses the part of the language that is known here.
        values: what `.` and `$` are.

    Raises:
        ValueError: the template uses something else.
    """
    try:
        return "".join(_run(_parsed(_pieces(template)), values, {"$": values}))
    except (IndexError, KeyError, TypeError, SyntaxError) as error:
        message = f"this template uses an unsupported feature of Go's templates ({error!r})"
        raise ValueError(message) from error


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """Give text and actions in turn, as `("text", …)` and `("action", …)`."""
    position = 0
    for found in _ACTION.finditer(template):
        yield "text", template[position : found.start()]
        yield "action", found.group(1)
        position = found.end()
    if "{{" in template[position:]:
        message = f"an action is not closed: {template[position:]!r}"
        raise ValueError(message)
    yield "text", template[position:]


def _parsed(pieces: Iterator[tuple[str, str]]) -> list[Any]:
    """Return what `pieces` hold up to the end of their block: text, actions, and blocks within."""
    root: list[Any] = []
    open_blocks: list[_Block] = []
    body = root
    for kind, piece in pieces:
        word = piece.partition(" ")[0]
        if kind == "text":
            body.append(("text", piece))
        elif word in {"if", "range"}:
            block = _Block(word, [(piece.removeprefix(f"{word} "), [])])
            body.append(block)
            open_blocks.append(block)
            body = block.branches[0][1]
        elif word == "else":
            condition = piece.removeprefix("else").strip().removeprefix("if ")
            open_blocks[-1].branches.append((condition, []))
            body = open_blocks[-1].branches[-1][1]
        elif word == "end":
            open_blocks.pop()
            body = open_blocks[-1].branches[-1][1] if open_blocks else root
        else:
            body.append(("action", piece))
    if open_blocks:
        message = f"{open_blocks[-1].action} has no end"
        raise ValueError(message)
    return root


def _run(body: Sequence[Any], dot: Any, variables: dict[str, Any]) -> Iterator[str]:
    for part in body:
        if isinstance(part, _Block):
            yield from _range(part, dot, variables) if part.action == "range" else _if(part, dot, variables)
        elif part[0] == "text":
            yield part[1]
        elif assigned := re.fullmatch(r"(\$\w+) :?= (.*)", part[1]):
            variables[assigned.group(1)] = _value(assigned.group(2), dot, variables)
        else:
            yield str(_value(part[1], dot, variables))


def _if(block: _Block, dot: Any, variables: dict[str, Any]) -> Iterator[str]:
    for condition, body in block.branches:
        if not condition or _value(condition, dot, variables):
            yield from _run(body, dot, variables)
            return


def _range(block: _Block, dot: Any, variables: dict[str, Any]) -> Iterator[str]:
    ((head, body),) = block.branches
    names, values = head.split(" := ")
    for number, item in enumerate(_value(values, dot, variables)):
        variables[names.partition(",")[0]] = number
        yield from _run(body, item, variables)


def _value(pipeline: str, dot: Any, variables: Mapping[str, Any]) -> Any:
    words = _WORD.findall(pipeline)
    value = _call(words, dot, variables)
    if words:
        message = f"too many words in {{{{ {pipeline} }}}}"
        raise ValueError(message)
    return value


def _call(words: list[str], dot: Any, variables: Mapping[str, Any]) -> Any:
    """Evaluate a function with its arguments, or a single operand, and take its words away."""
    if words[0] not in FUNCTIONS:
        return _operand(words, dot, variables)
    function = FUNCTIONS[words.pop(0)]
    arguments = []
    while words and words[0] != ")":
        arguments.append(_operand(words, dot, variables))
    return function(*arguments)


def _operand(words: list[str], dot: Any, variables: Mapping[str, Any]) -> Any:
    word = words.pop(0)
    if word == "(":
        value = _call(words, dot, variables)
        words.pop(0)
        return value
    if word.startswith('"') or word.isdigit() or word in {"true", "false"}:
        return ast.literal_eval(word.capitalize() if word.isalpha() else word)
    name, _, key = word.partition(".")
    value = variables[name] if name else dot
    return value[key] if key else value
