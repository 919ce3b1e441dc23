"""Looks at one plugin, with all the checks beside this module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from framework.testing import install
from framework.testing.checks import factories, hooks, names, presets, reads, schemas
from framework.util.errors import error_location, summarize_error
from framework.util.guard import Caught
from framework.util.python_file import import_file

HEAVY = (
    "torch", "transformers", "datasets", "numpy", "pandas", "trl", "peft", "bitsandbytes", "accelerate", "unsloth",
    "tensorflow", "jax", "scipy", "sklearn", "matplotlib", "wandb", "gradio",
)  # fmt: skip
"""Libraries that no command should have to wait for."""


def check(name: str, file: str, roots: Sequence[str]) -> list[str]:
    """Return everything that is wrong with a plugin, whose package lies in `roots` if it is not on the path."""
    sys.path[:0] = roots
    return list(dict.fromkeys(problems(name, file)))


def problems(name: str, file: str) -> Iterator[str]:
    """Import a plugin and give everything that is wrong with it."""
    loaded = set(sys.modules)
    module: Any = None
    failed = Caught()
    with failed:
        module = load(name, file)
    if error := failed.error:
        yield f"{name} cannot be imported: {summarize_error(error)}{error_location(error)}"
        return
    heavy = [library for library in HEAVY if library in sys.modules and library not in loaded]
    if heavy:
        yield (
            f"{name} imports {', '.join(heavy)} when it is loaded, which every command waits for: "
            "import that in the module that a factory string names"
        )
    install()
    plugin = hooks.read(module)
    yield from plugin.problems
    yield from schemas.problems(plugin)
    usable = [offer for offer in plugin.offers if schemas.usable(offer)]
    other_plugins = names.Others(module)
    yield from names.problems(usable, other_plugins, name)
    yield from factories.problems(usable)
    yield from factories.diagnostics(plugin.diagnostics)
    yield from presets.problems(plugin, names.first_of_each(usable, other_plugins), other_plugins)
    yield from reads.problems(usable, module)


def load(name: str, file: str) -> ModuleType:
    """Import a module by its name, or out of its file if that is not what the name stands for.

    Raises:
        ImportError: the file's name belongs to another module.
    """
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if not file or (spec is not None and spec.origin is not None and Path(spec.origin).resolve() == Path(file)):
        return importlib.import_module(name)
    if spec is not None or not name.isidentifier():
        raise ImportError(f"'{name}' is not available as a module name: rename the file, for example to my_{name}.py")
    return import_file(Path(file), name)
