"""Plugins in a single file, `plugins=[./mine.py]`: nothing to package, nothing to install."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from framework.decorators import collect
from framework.errors import FrameworkError, one_line, place
from framework.plugins import add, manager, package


def load_file(path: str) -> None:
    """Load a plugin out of one Python file. Its module is named like the file, for the factories in it.

    Raises:
        FrameworkError: there is no such file, it cannot be imported, or its name is taken.
    """
    file = Path(path).expanduser()
    name = file.stem
    if not file.is_file() or file.suffix != ".py":
        near = sorted(other.name for other in file.parent.glob("*.py")) if file.parent.is_dir() else []
        beside = f". Beside it: {', '.join(near[:5])}" if near else ""
        message = f"plugins={path}: there is no such Python file{beside}"
        raise FrameworkError(message)
    if manager().has_plugin(name) and package(name) == str(file.resolve()):
        return
    other = importlib.util.find_spec(name) if name.isidentifier() else None
    taken = manager().has_plugin(name) or (other is not None and other.origin != str(file.resolve()))
    if not name.isidentifier() or taken:
        message = f"plugins={path}: '{name}' is no free name for a module: rename the file, for example my_{name}.py"
        raise FrameworkError(message)
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:  # cannot be for a .py file
        raise FrameworkError(f"plugins={path}: cannot be imported")  # noqa: EM102, TRY003
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        add(module, name=name, package=str(file.resolve()))
    except Exception as error:
        del sys.modules[name]
        message = f"plugins={path}: {one_line(error)}{place(error)}"
        raise FrameworkError(message) from error
    if not has_hooks(module):
        message = f"plugins={path}: nothing in it is a plugin: mark a hook with @hookimpl, or a function with @metric"
        raise FrameworkError(message)


def is_loaded(path: str) -> bool:
    """Whether a file of `plugins=[…]` has been loaded."""
    file = Path(path).expanduser()
    return package(file.stem) == str(file.resolve())


def has_hooks(module: ModuleType) -> bool:
    """Whether a registered module implements any hook."""
    callers = manager().get_hookcallers(module)
    return bool(callers) or any(collect(module))
