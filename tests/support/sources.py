"""The Python of this repository, parsed once for all tests of a process that read it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def tree(file: Path) -> ast.Module:
    """Return the syntax tree of a file, which nobody may change."""
    return ast.parse(file.read_text(encoding="utf-8"))
