"""Where llama.cpp's converter is: in the distribution `auto-round`, or in a source tree of llama.cpp.

Intel's AutoRound carries llama.cpp's Python package `conversion` as it is. It is imported from its folder: nothing else
of AutoRound is run, which would change `datasets` when it is imported.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.machine import missing, pip_command
from framework_plugins.exports.llama import library

PACKAGE = "auto-round"
NEEDED = (f"{PACKAGE}==0.14.2", "gguf>=0.19,<0.20", library.NEEDED, "protobuf>=5", "sentencepiece>=0.2.1")
"""Distributions that write GGUF files, as the extra lists them. The first's converter is of the second's time."""
CONVERSION = Path("conversion", "__init__.py")
INSIDE = ("export", "export_to_gguf")
"""Folders of `auto_round` above `conversion`."""


def missing_libraries(*, tree: bool) -> str:
    """Say which libraries are not installed and what installs them; empty where all are there.

    Args:
        tree: whether a source tree of llama.cpp converts, so that AutoRound is not needed.
    """
    lacking = missing(name for name in NEEDED if not (tree and name.startswith(PACKAGE)))
    return f"needs {' and '.join(lacking)}: {pip_command([library.EXTRA])}" if lacking else ""


def root(tree: str | None) -> Path:
    """Return the folder in which the package `conversion` lies.

    Args:
        tree: a source tree of llama.cpp; None: AutoRound's copy.

    Raises:
        FrameworkError: the tree has no converter, or AutoRound is not installed or keeps it elsewhere.
    """
    if tree is None:
        return _bundled()
    place = Path(tree).expanduser()
    if not (place / CONVERSION).is_file():
        raise FrameworkError(f"{tree} is not a source tree of llama.cpp, or is an old one: it has no {CONVERSION}")
    return place


def _bundled() -> Path:
    spec = importlib.util.find_spec("auto_round")  # finds, and imports nothing
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place, *INSIDE)
        if (folder / CONVERSION).is_file():
            return folder
    raise FrameworkError(f"llama.cpp's converter is not in the installed {PACKAGE}: {pip_command([library.EXTRA])}")


def architectures(tree: str | None) -> frozenset[str]:
    """Return the architectures, as `config.json` names them, that the converter knows; read, not imported.

    Raises:
        FrameworkError: there is no converter.
    """
    return _table(root(tree) / CONVERSION)


@functools.cache
def _table(file: Path) -> frozenset[str]:
    """Read the keys of `TEXT_MODEL_MAP`."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TEXT_MODEL_MAP" and node.value:
            return frozenset(ast.literal_eval(node.value))
    raise FrameworkError(f"{file} lists no TEXT_MODEL_MAP: this version of llama.cpp's converter is not understood")


def load(tree: str | None) -> tuple[Any, Any]:
    """Import `conversion` and the `gguf` that it uses; for a process that does nothing else, as the names are common.

    A tree brings a `gguf` of its own, in `gguf-py`, which `conversion` puts before the installed one. So nothing may
    import `gguf` before.
    """
    sys.path.insert(0, str(root(tree)))
    return importlib.import_module("conversion"), importlib.import_module("gguf")
