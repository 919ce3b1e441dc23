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
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import missing, pip_command
from framework_plugins.exports.llama import library

PACKAGE = "auto-round"
NEEDED = (f"{PACKAGE}==0.14.2", "gguf>=0.19,<0.20", library.NEEDED, "protobuf>=5", "sentencepiece>=0.2.1")
"""Distributions that write GGUF files, as the extra lists them. The first's converter is of the second's time."""
CONVERSION_FILE = Path("conversion", "__init__.py")
AUTO_ROUND_FOLDERS = ("export", "export_to_gguf")
"""Folders of `auto_round` above `conversion`."""


def missing_libraries(*, tree: bool) -> str:
    """Name the libraries that are not installed, with the command that installs them; empty if all are installed.

    Args:
        tree: whether a source tree of llama.cpp converts, so that AutoRound is not needed.
    """
    lacking = missing(name for name in NEEDED if not (tree and name.startswith(PACKAGE)))
    return f"needs {' and '.join(lacking)}: {pip_command([library.EXTRA])}" if lacking else ""


def converter_folder(tree: str | None) -> Path:
    """Return the folder in which the package `conversion` lies.

    Args:
        tree: a source tree of llama.cpp; None: AutoRound's copy.

    Raises:
        FrameworkError: the tree has no converter, or AutoRound is not installed or keeps it elsewhere.
    """
    if tree is None:
        return _auto_round_folder()
    tree_folder = Path(tree).expanduser()
    if not (tree_folder / CONVERSION_FILE).is_file():
        raise FrameworkError(f"{tree} is not a source tree of llama.cpp, or is an old one: it has no {CONVERSION_FILE}")
    return tree_folder


def _auto_round_folder() -> Path:
    spec = importlib.util.find_spec("auto_round")  # finds, and imports nothing
    for package_folder in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(package_folder, *AUTO_ROUND_FOLDERS)
        if (folder / CONVERSION_FILE).is_file():
            return folder
    raise FrameworkError(f"llama.cpp's converter is not in the installed {PACKAGE}: {pip_command([library.EXTRA])}")


def architectures(tree: str | None) -> frozenset[str]:
    """Return the architectures, as `config.json` names them, that the converter knows; read, not imported.

    Raises:
        FrameworkError: there is no converter.
    """
    return _read_architectures(converter_folder(tree) / CONVERSION_FILE)


@functools.cache
def _read_architectures(file: Path) -> frozenset[str]:
    """Read the keys of `TEXT_MODEL_MAP`."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TEXT_MODEL_MAP" and node.value:
            return frozenset(ast.literal_eval(node.value))
    raise FrameworkError(f"{file} lists no TEXT_MODEL_MAP: this version of llama.cpp's converter is not understood")


def architecture(config: Mapping[str, Any], supported: Collection[str]) -> str | None:
    """Return the architecture of a model as the converter calls it; None if it does not know any.

    The text part of a config.json may name one, else the file does. transformers 5 writes none for the text part, where
    the converter may know only its causal class, and writes a few names with other capital letters.

    Args:
        config: the content of config.json.
        supported: the names that the converter knows.
    """
    text = config.get("text_config") or {}
    named = [*(text.get("architectures") or []), *(config.get("architectures") or [])]
    lower = {name.lower(): name for name in supported}
    if match := next((lower[name.lower()] for name in named if name.lower() in lower), None):
        return next((name for name in named if name in supported), match)
    if not text:
        return None
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # noqa: PLC0415 - heavy

    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text.get("model_type"))
    return causal if causal in supported else None


def load(tree: str | None) -> tuple[Any, Any]:
    """Import `conversion` and the `gguf` that it uses; for a process that does nothing else, as the names are common.

    A tree brings a `gguf` of its own, in `gguf-py`, which `conversion` puts before the installed one. So nothing may
    import `gguf` before.
    """
    sys.path.insert(0, str(converter_folder(tree)))
    return importlib.import_module("conversion"), importlib.import_module("gguf")
