"""Imports a Python file that no package holds, the same way for plugins, environments and the checks of a plugin."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_file(file: Path, name: str) -> ModuleType:
    """Import a file as the module `name`, once in a process. One that fails is forgotten again.

    Raises:
        ImportError: the name belongs to another module, or the file is not Python.
    """
    if (module := sys.modules.get(name)) is not None:  # a worker has met it while it read a config
        if Path(getattr(module, "__file__", None) or "").resolve() == file.resolve():
            return module
        raise ImportError(f"'{name}' is the name of another module: rename the file {file}")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    # Before it is executed, as the import system does: dataclasses and pickle look their module up there.
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
