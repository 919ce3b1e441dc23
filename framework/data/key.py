"""What tokenized rows depend on, as a hash: the data, the settings, the format's code, the model's way to encode.

The code counts by its bytes, so that a changed format or template never meets an old store.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from framework.records import RawData, Row

LIBRARIES = ("jinja2", "tokenizers", "transformers", "pyarrow")
"""Their versions count: they render, tokenize and write."""


def fingerprint(raw: RawData) -> str:
    """Return a hash over the content of the rows, in their order; where they stand does not count."""
    if raw.key:
        return hashlib.sha256(raw.key.encode()).hexdigest()
    digest = hashlib.sha256()
    for part in (raw.train, raw.validation, raw.prompts):
        digest.update(b"\x00")
        digest.update(_rows(part))
    return digest.hexdigest()


def _rows(rows: Iterable[Row]) -> bytes:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([dict(row.fields), row.problem], sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.digest()


def of(*parts: Any) -> str:
    """Return a hash over plain values, and over this package's own code and the libraries' versions."""
    installed = {name: version(name) for name in LIBRARIES if find_spec(name)}
    text = json.dumps([*parts, installed, code(of)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def code(thing: Any) -> str:
    """Return a hash over the source that a class, function or object belongs to, what it imports from there included.

    What a decorator made of a function counts by the function.
    """
    thing = getattr(thing, "function", thing)
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return code_of(module)


@functools.cache
def code_of(module: str) -> str:
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
