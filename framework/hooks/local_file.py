"""Plugins in a single file, `plugins=[./mine.py]`: nothing to package, nothing to install."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from framework.hooks.decorated import DECORATORS, collect
from framework.hooks.manager import Plugins, disabled
from framework.util.errors import FrameworkError, describe_error, nearest
from framework.util.guard import Caught
from framework.util.python_file import import_file


def load_file(plugins: Plugins, path: str) -> None:
    """Load a plugin from one Python file. Its module has the name of the file, for the factories in it.

    Raises:
        FrameworkError: there is no such file, it cannot be imported, or its name is taken.
    """
    file = Path(path).expanduser()
    name = file.stem
    if name not in disabled():
        _check_file(file, path)
        file = file.resolve()
        if not (plugins.manager.has_plugin(name) and plugins.package(name) == str(file)):
            _check_name(plugins, file, path)
            _load(plugins, file, path)
    plugins.files.add(path)


def export_plugin_paths(plugins: Plugins) -> None:
    """Let workers of launchers import the files that were read: they have to know the classes of a config by name."""
    folders = [str(Path(path).expanduser().resolve().parent) for path in sorted(plugins.files)]
    new_folders = [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
    # At the end: a file of the user must not hide a library.
    sys.path += new_folders
    inherited = os.environ.get("PYTHONPATH")
    if folders:
        # Processes that a launcher spawns unpickle the config before any code of ours runs there.
        os.environ["PYTHONPATH"] = os.pathsep.join([*([inherited] if inherited else []), *dict.fromkeys(folders)])


def _load(plugins: Plugins, file: Path, path: str) -> None:
    with _forget_on_failure(file.stem, path):
        module = import_file(file, file.stem)
    _register(plugins, module, file, path)


@contextmanager
def _forget_on_failure(name: str, path: str) -> Iterator[None]:
    """Forget a module that fails, and name its file."""
    failed = Caught()
    with failed:
        yield
    if failed.error:
        sys.modules.pop(name, None)
        raise FrameworkError(f"plugins={path}: {describe_error(failed.error)}") from failed.error


def _register(plugins: Plugins, module: ModuleType, file: Path, path: str) -> None:
    with _forget_on_failure(file.stem, path):
        plugins.add(module, name=file.stem, package=str(file))
    if not has_hooks(plugins, module):
        raise FrameworkError(
            f"plugins={path}: the file registers nothing: decorate a hook with @hookimpl, or a function with "
            f"{DECORATORS}"
        )


def _check_file(file: Path, path: str) -> None:
    if file.is_file() and file.suffix == ".py":
        return
    if path in {"", "None"}:
        raise FrameworkError(
            "plugins=[null] names no file: name Python files, plugins=[./mine.py], or give plugins=[] for none"
        )
    names = sorted(sibling.name for sibling in file.parent.glob("*.py")) if file.parent.is_dir() else []
    likeliest_first = list(dict.fromkeys([*nearest(file.name, names, count=5), *names]))[:5]
    hint = f". Beside it: {', '.join(likeliest_first)}" if names else ""
    raise FrameworkError(f"plugins={path}: there is no such Python file{hint}")


def _check_name(plugins: Plugins, file: Path, path: str) -> None:
    name = file.stem
    free = name.isidentifier() and not keyword.iskeyword(name)
    if not free or plugins.manager.has_plugin(name) or _is_module(name, file):
        plain = re.sub(r"\W", "_", name)
        suggestion = plain if plain != name and plain.isidentifier() else f"my_{plain}"
        raise FrameworkError(
            f"plugins={path}: '{name}' is not available as a module name: rename the file, for example to "
            f"{suggestion}.py"
        )


def _is_module(name: str, file: Path) -> bool:
    """Whether a name stands for another module than this file, which may lie where Python searches first."""
    if name in sys.stdlib_module_names:
        return True
    if name in sys.modules:
        return Path(getattr(sys.modules[name], "__file__", None) or "").resolve() != file
    elsewhere = [entry for entry in sys.path if Path(entry).resolve() != file.parent]
    specs = [PathFinder.find_spec(name, elsewhere)]
    # Finders of editable installs know modules that no folder of `sys.path` has.
    specs += [finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec")]
    return any(_is_elsewhere(spec, file) for spec in specs if spec is not None)


def _is_elsewhere(spec: ModuleSpec, file: Path) -> bool:
    if spec.origin is None:  # a folder without an __init__.py; one that nobody installed is not a module
        return any(
            Path(location).parent.name.endswith("-packages") for location in spec.submodule_search_locations or []
        )
    return Path(spec.origin).resolve() != file


def is_loaded(plugins: Plugins, path: str) -> bool:
    """Whether a file of `plugins=[…]` has been loaded, or switched off."""
    file = Path(path).expanduser()
    return path in plugins.files or plugins.package(file.stem) == str(file.resolve())


def has_hooks(plugins: Plugins, module: ModuleType) -> bool:
    """Whether a registered module implements any hook."""
    callers = plugins.manager.get_hookcallers(module)
    return bool(callers) or bool(collect(module))
