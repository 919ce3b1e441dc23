"""Hashes over values and over source code, for the keys of caches.

Code counts by its bytes: a format or a template that was changed never meets what the old one made.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("jinja2", "tokenizers", "transformers", "pyarrow")
"""Their versions count: they render, tokenize and write."""


def hash_of(*parts: Any) -> str:
    """Return a hash over plain values, and over this package's own code and the libraries' versions."""
    installed = {name: version(name) for name in LIBRARIES if find_spec(name)}
    text = json.dumps([*parts, installed, code_hash(hash_of)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def code_hash(thing: Any) -> str:
    """Return a hash over the source that a class, function or object belongs to, what it imports from there included.

    What a decorator made of a function counts by the function.
    """
    thing = getattr(thing, "function", thing)
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return module_hash(module)


@functools.cache
def module_hash(module: str) -> str:
    """Return a hash over the source around a module: its whole top-level package, or the folder of a single file."""
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top, sys.modules[module]), "__file__", None)
    if file is None:
        return module
    folder = Path(file).parent
    files = sorted(folder.rglob("*.py") if Path(file).name == "__init__.py" else folder.glob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
