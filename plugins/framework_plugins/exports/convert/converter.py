"""Where llama.cpp's converter is: in the distribution `auto-round`, or in a checkout of llama.cpp.

Intel's AutoRound carries llama.cpp's Python package `conversion` as it is. It is imported from its folder: nothing else
of AutoRound is run, which would change `datasets` when it is imported.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.machine import missing, pip_command

PACKAGE, EXTRA = "auto-round", "framework[gguf]"
NEEDED = (f"{PACKAGE}>=0.13.1,<0.15", "gguf>=0.19,<0.20", "llama-cpp-py-sync", "protobuf", "sentencepiece")
"""Distributions that write GGUF files. The first's converter has to be of the second's time."""
SCRIPT = "convert_hf_to_gguf.py"
INSIDE = ("export", "export_to_gguf")
"""Folders of `auto_round` above `conversion`."""


def missing_libraries(*, checkout: bool) -> str:
    """Say which libraries are not installed and what installs them; empty where all are there.

    Args:
        checkout: whether a checkout of llama.cpp converts, so that AutoRound is not needed.
    """
    lacking = missing(name for name in NEEDED if not (checkout and name.startswith(PACKAGE)))
    return f"needs {' and '.join(lacking)}: {pip_command([EXTRA])}" if lacking else ""


def package_root() -> Path:
    """Return the folder in which the package `conversion` lies.

    Raises:
        FrameworkError: AutoRound is not installed, or in a version that keeps it elsewhere.
    """
    spec = importlib.util.find_spec("auto_round")  # finds, and imports nothing
    for place in (spec.submodule_search_locations or []) if spec else []:
        root = Path(place, *INSIDE)
        if (root / "conversion" / "__init__.py").is_file():
            return root
    message = f"llama.cpp's converter is not in the installed {PACKAGE}: {pip_command([EXTRA])}"
    raise FrameworkError(message)


def architectures(checkout: Path | None) -> frozenset[str]:
    """Return the architectures, as `config.json` names them, that the converter knows; read, not imported.

    Raises:
        FrameworkError: there is no converter.
    """
    root = checkout or package_root()
    table = root / "conversion" / "__init__.py"
    if table.is_file():
        return _table(table)
    script = root / SCRIPT  # until 2026 all was in one file
    if not script.is_file():
        message = f"{root} is no checkout of llama.cpp: it has no {SCRIPT}"
        raise FrameworkError(message)
    registered = re.findall(
        r"^@ModelBase\.register\((.*?)\)$", script.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return frozenset(name for words in registered for name in re.findall(r'"(\w+)"', words))


@functools.cache
def _table(file: Path) -> frozenset[str]:
    """Read the keys of `TEXT_MODEL_MAP`."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TEXT_MODEL_MAP" and node.value:
            return frozenset(ast.literal_eval(node.value))
    message = f"{file} lists no TEXT_MODEL_MAP: this version of llama.cpp's converter is not understood"
    raise FrameworkError(message)


def load() -> Any:
    """Import `conversion`; for a process that does nothing else, as its name is a common word."""
    sys.path.insert(0, str(package_root()))
    return importlib.import_module("conversion")
