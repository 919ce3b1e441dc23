"""Writes docs/reference/api.md, and what it leaves out of the public API, out of `__all__` of the public modules.

python -m tests.support.api_page    writes both; `make reference` does
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support import audiences

ROOT = Path(__file__).resolve().parents[2]
PAGE, SNAPSHOT = ROOT / "docs" / "reference" / "api.md", ROOT / "tests" / "framework" / "api" / "public_api.txt"
HEAD = """\
<!-- Made by `make reference`; edit the docstrings instead. -->
# The public API

A plugin imports these five modules and nothing else of the core.

Any other module, and any name outside `__all__`, may change in any release. **Stable** modules keep their names,
parameters and meaning within a major version; until 1.0, a minor version may change them. **Provisional** modules,
marked below, may change in any minor version. The changelog announces a change or removal under "Deprecated"; the old
name then works for at least one minor version and raises a `DeprecationWarning` that names the new one. New optional
fields, parameters with a default and new protocols do not count as changes.

A class is shown as it is made, or with its attributes in braces; [`Config` classes](config.md) and
[records](report.md) have their fields on other pages.
"""
AUTHORS = """\
## By author

What the signatures of one's own code name; hooks have [a page](hooks.md). The parts of {passed_on}.
Everybody may use `framework` and what is in no list.
"""
INDENT = "    "
REPORT = re.findall(r"^## `(\w+)`$", (ROOT / "docs/reference/report.md").read_text(encoding="utf-8"), re.MULTILINE)
RETURNED = re.compile(r"^(?:Return|Give) (?=(?:the|a|an|whether|what|how|each|all|one|its|by|which|why|where)\b)")
MANY = 9  # fields, whose types would fill a screen


def is_provisional(module: ModuleType) -> bool:
    """Whether the first line of a module's docstring says so."""
    return (module.__doc__ or "").partition("\n")[0].endswith("Provisional.")


def snapshot() -> str:
    """Return what the page leaves out: types of many fields, properties, values of constants and enums, suites."""
    return "".join(f"{line}\n" for name in audiences.MODULES for line in _lines(importlib.import_module(name)))


def page() -> str:
    """Return the text of docs/reference/api.md."""
    return "\n".join([HEAD, _authors(), *(_section(importlib.import_module(name)) for name in audiences.MODULES)])


def _authors() -> str:
    """Return a section for each kind of author, with the imports of what is in the list."""
    kinds = {kind: names for kind, names in audiences.audiences().items() if kind != audiences.HOOKS}
    passed_on = [f"`{name}` under [{kind}](#{kind})" for name, kind in audiences.PASSED_ON.items() if kind]
    text = AUTHORS.format(passed_on=", ".join(passed_on))
    return "\n".join([text, *(line for kind, names in kinds.items() for line in _imports(kind, names))])


def _imports(kind: str, names: Sequence[str]) -> Iterator[str]:
    yield from (f"### {kind}", "")
    for module in audiences.MODULES:
        if offered := [name for name in names if audiences.owners()[name] == module]:
            line = f"from {module} import {', '.join(offered)}"
            yield textwrap.fill(line, 110, initial_indent=INDENT, subsequent_indent=2 * INDENT)
    yield ""


def _lines(module: ModuleType) -> Iterator[str]:
    for name in sorted({*module.__all__} - {"__version__"}):
        yield from _described(f"{module.__name__}.{name}", getattr(module, name))


def _described(place: str, thing: Any) -> Iterator[str]:
    """Give a line for a constant, and for what the page leaves out of a class that is in this repository."""
    if not inspect.isclass(thing):
        yield from [] if inspect.isroutine(thing) else [f"{place} = {_value(thing)}"]
        return
    if issubclass(thing, Enum):
        yield from (f"{place}.{member.name} = {member.value!r}" for member in thing)
        return
    fields = {field.name: field for field in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else {}
    shown = _made(place.rpartition(".")[2], thing)
    for name, annotation in inspect.get_annotations(thing).items():
        if not name.startswith("_") and not re.search(rf"\b{name}: ", shown):
            yield f"{place}.{name}: {annotation}{_default(fields.get(name))}"
    for name, member in sorted(vars(thing).items()):
        if place.endswith("Suite") and inspect.isfunction(member) and not name.startswith(("_", "test_")):
            yield f"{place}.{_called(member)}"
        if not name.startswith("_") and isinstance(member, property | functools.cached_property):
            getter = member.fget if isinstance(member, property) else member.func
            yield f"{place}.{name} -> {getter.__annotations__.get('return') if getter else None}"


def _default(field: dataclasses.Field[Any] | None) -> str:
    """Return the default of a field as it counts for callers: that there is one, and plain ones with their value."""
    if field is None or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING):
        return ""
    plain = isinstance(field.default, bool | int | float | str | None)
    return f" = {field.default!r}" if plain else " = …"


def _signature(thing: Any) -> str:
    """Return a signature; objects as defaults have no stable text."""
    signature = inspect.signature(thing)
    plain = [
        parameter.replace(
            default=inspect.Parameter.empty if parameter.default is parameter.empty else _Shown(parameter)
        )
        for parameter in signature.parameters.values()
    ]
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature.replace(parameters=plain)))  # annotations are strings


class _Shown:
    """A default as the snapshot shows it."""

    def __init__(self, parameter: inspect.Parameter) -> None:
        self.default = parameter.default

    def __repr__(self) -> str:
        """Return plain values as they are written."""
        if isinstance(self.default, Enum):
            return f"{type(self.default).__name__}.{self.default.name}"
        return repr(self.default) if isinstance(self.default, bool | int | float | str | None) else "…"


def _value(thing: Any) -> str:
    if inspect.ismodule(thing):
        return f"module {thing.__name__}"
    plain = isinstance(thing, bool | int | float | str | tuple | frozenset)
    return repr(thing) if plain and not isinstance(thing, frozenset) else type(thing).__name__


def _section(module: ModuleType) -> str:
    mark = " (provisional)" if is_provisional(module) else ""
    names = sorted({*module.__all__} - {"__version__"}, key=lambda name: (name.lower(), name))
    entries = [line for name in names for line in _entry(module, name)]
    return "\n".join([f"## `{module.__name__}`{mark}", "", *entries, ""])


def _entry(module: ModuleType, name: str) -> Iterator[str]:
    """Give the line of a name, and below a class of this repository one for each method."""
    thing = getattr(module, name)
    if inspect.isclass(thing):
        told = name in REPORT or name.endswith("Suite")  # the report's page and docs/how-to/test-a-plugin.md say it
        yield f"- {_short(_made(name, thing))}{'' if told else f': {_sentence(inspect.getdoc(thing))}'}"
        if thing.__module__.startswith("framework") and not name.endswith("Suite"):
            yield from _methods(thing)
    elif inspect.isroutine(thing):
        yield f"- `{name}{_short(_signature(thing))}`: {_sentence(inspect.getdoc(thing))}"
    elif inspect.ismodule(thing):
        functions = ", ".join(f"`{function}`" for function in thing.__all__)
        yield f"- `{name}`: {_sentence(inspect.getdoc(thing))} Its functions: {functions}."
    else:
        yield f"- `{name}`: {_first(_of_constant(module, name)) or f'`{_value(thing)}`'}"


def _made(name: str, thing: type) -> str:
    """Return how a class is made: with its fields, its members or what it takes."""
    if name in REPORT:
        return f"[`{name}`](report.md#{name.lower()})"
    if issubclass(thing, Enum):
        return f"`{name}` ({', '.join(member.name for member in thing)})"
    if name.endswith("Config") or not thing.__module__.startswith("framework"):
        return f"`{name}`"
    if dataclasses.is_dataclass(thing):
        fields = [field for field in dataclasses.fields(thing) if field.init and not field.name.startswith("_")]
        few = len(fields) < MANY
        shown = [f"{field.name}: {field.type}{_default(field)}" if few else field.name for field in fields]
        return f"`{name}({', '.join(shown)})`"
    if inspect.isfunction(constructor := vars(thing).get("__init__")) and constructor.__name__ == "__init__":
        return f"`{_called(constructor).replace('__init__', name, 1).removesuffix(' -> None')}`"
    own = {key: hint for key, hint in inspect.get_annotations(thing).items() if not key.startswith("_")}
    attributes = [f"{key}: {hint}" for key, hint in own.items()]
    return f"`{name}{{{', '.join(attributes)}}}`" if attributes else f"`{name}`"


def _methods(thing: type) -> Iterator[str]:
    """Give a line for each public method of a class as it is called."""
    members = [getattr(member, "__func__", member) for member in vars(thing).values()]  # a classmethod has a function
    inherited = {name for base in thing.__mro__[1:] if base.__module__.startswith("framework") for name in vars(base)}
    functions = [each for each in members if inspect.isfunction(each) and each.__name__ not in inherited]
    for method in functions:
        if method.__name__ == "__call__" or not method.__name__.startswith("_"):
            yield f"  - `{_short(_called(method))}`: {_sentence(inspect.getdoc(method))}"


def _called(method: Callable[..., Any]) -> str:
    """Return a method with its parameters, without `self`."""
    return re.sub(r"\((self|cls)(, )?", "(", f"{method.__name__}{_signature(method)}", count=1)


def _sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, without the verb of one that says what is returned."""
    first = RETURNED.sub("", re.split(r"(?<=[^.][.!?]) (?=[A-Z`])", _first(text), maxsplit=1)[0])
    return first[:1].upper() + first[1:]


def _short(signature: str) -> str:
    """Return a signature without the spaces that a reader does not need."""
    return signature.replace(" = ", "=").replace(" | ", "|")


def _first(text: str | None) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def _of_constant(module: ModuleType, name: str) -> str:
    """Return the text that is below a constant, in this module or in the one that it is imported from."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    later = [each for node in tree.body if isinstance(node, ast.If) for each in node.body]  # under TYPE_CHECKING
    body = [*tree.body, *later]
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                owner = importlib.import_module(statement.module or "") if alias.name in {name, "*"} else None
                if owner and (alias.name == name or name in owner.__all__):
                    return _of_constant(owner, name)
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            return str(following.value.value) if documented else ""  # type: ignore[union-attr]
    return ""


def main() -> int:
    """Write both files."""
    PAGE.write_text(page(), encoding="utf-8")
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
