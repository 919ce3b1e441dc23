"""Hashes over values and over source code, for the keys of caches.

Code counts by its bytes: a format or a template that was changed never meets what the old one made.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from framework.util.versions import installed

LIBRARIES = ("jinja2", "tokenizers", "transformers", "pyarrow")
"""Their versions count: they render, tokenize and write."""
HOLDERS = frozenset({"framework_plugins"})
"""Packages that hold several plugins: a change of one leaves the caches of the others alone."""


def hash_of(*parts: Any) -> str:
    """Return a hash over plain values, and over this package's own code and the libraries' versions."""
    versions = {name: installed(name) for name in LIBRARIES}
    text = json.dumps([*parts, versions, code_hash(hash_of)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def code_hash(thing: Any) -> str:
    """Return a hash over the source of a class, function or object, including what it imports from the same package.

    What a decorator made of a function counts by the function.
    """
    thing = getattr(thing, "function", thing)
    module = getattr(thing, "__module__", None) or type(thing).__module__  # an object has the one of its class
    return module_hash(module)


def module_hash(module: str) -> str:
    """Return a hash over the source around a module: the package that holds it, or the folder of a single file."""
    package = package_of(module)
    file = getattr(sys.modules.get(package, sys.modules[module]), "__file__", None)
    return module if file is None else source_hash(Path(file))


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
