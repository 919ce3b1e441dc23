"""The keys of caches: hashes over values and over source code.

Code counts by its bytes: a format or a template that was changed never meets what the old one made.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from framework.util.versions import installed

LIBRARIES = ("jinja2", "tokenizers", "transformers", "pyarrow")
"""Their versions count: they render, tokenize and write."""
OURS = ("framework", "framework_plugins")
"""The packages of this project."""
HOLDERS = frozenset({"framework_plugins"})
"""Packages that hold several plugins: a change of one leaves the caches of the others alone."""


def key_of(*parts: Any, code: Iterable[Any] = ()) -> str:
    """Return a key over plain values, a hash in hexadecimal; the key of a single value is that of its JSON.

    Args:
        *parts: the values. What is none of JSON counts by its text.
        code: classes, functions, objects and names of modules whose source counts as well. With any of them the source
            of the framework counts too, and so do the versions of the libraries that render, tokenize and write.
    """
    values = list(parts)
    if hashes := [code_hash(thing) for thing in code]:
        values += [hashes, code_hash(key_of), {name: installed(name) for name in LIBRARIES}]
    text = json.dumps(values[0] if len(values) == 1 else values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}


def code_hash(thing: Any) -> str:
    """Return a hash over the source of a class, function or object, including what it imports from the same package.

    What a decorator made of a function counts by the function, and a text is the name of a module.
    """
    if isinstance(thing, str):
        return module_hash(thing)
    thing = getattr(thing, "function", thing)
    return module_hash(getattr(thing, "__module__", None) or type(thing).__module__)  # an object has that of its class


def module_hash(module: str) -> str:
    """Return a hash over the source around a module: the package that holds it, or the folder of a single file."""
    package = package_of(module)
    file = getattr(sys.modules.get(package, sys.modules[module]), "__file__", None)
    return module if file is None else source_hash(Path(file))


def foreign_hash(module: str) -> str:
    """Return a hash over the code of a component of somebody else, by its module; empty for one of this project.

    It is that of the whole package, or of a single file with the files beside it that it imports: others of its folder
    may have nothing to do with it.
    """
    package = package_of(module)
    if package.partition(".")[0] in OURS:
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    if hasattr(sys.modules.get(package), "__path__"):
        return module_hash(module)
    files = sorted(imported_files(Path(file)))
    return file_sha256(Path(file)) if len(files) == 1 else key_of([[path.name, file_sha256(path)] for path in files])


def imported_files(file: Path) -> set[Path]:
    """Return a Python file and those beside it that it imports, and what these import."""
    found, pending = {file}, [file]
    while pending:
        beside = {file.parent / f"{name.partition('.')[0]}.py" for name in _imported_names(pending.pop())} - found
        found |= (new := {path for path in beside if path.is_file()})
        pending += new
    return found


def _imported_names(file: Path) -> Iterator[str]:
    """Give the modules that a file imports; none if it is not Python any more."""
    try:
        parts = [*ast.walk(ast.parse(file.read_bytes()))]
    except (SyntaxError, ValueError):
        return
    for part in parts:
        if isinstance(part, ast.ImportFrom) and part.module:
            yield part.module
        elif isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)


def package_of(module: str) -> str:
    """Return the name of the package whose code counts as one: the topmost, of one that holds several the second."""
    top, _, below = module.partition(".")
    return f"{top}.{below.partition('.')[0]}" if top in HOLDERS and below else top


@functools.cache
def source_hash(file: Path) -> str:
    """Return a hash over the Python files of a package, given its `__init__.py`, or of a folder, given any other."""
    folder = file.parent
    files = sorted(folder.rglob("*.py") if file.name == "__init__.py" else folder.glob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
