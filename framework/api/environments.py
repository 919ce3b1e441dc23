"""Environments: classes whose methods are tools, in the shape that TRL's `environment_factory` takes.

    class Game:
        def reset(self, **row) -> str | None:
            '''Begin again, with the fields of the row; a text that it returns is appended to the question.'''

        def guess(self, letter: str) -> str:
            '''A tool, as each method without an underscore is; the model reads its annotations and docstring.'''

        def get_reward(self) -> float:
            '''Score what was done since `reset`; it may be left out.'''

A tool that raises tells the model so. Everything else that raises ends the run.
"""

from __future__ import annotations

import importlib
import inspect
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from framework.util.errors import FrameworkError
from framework.util.guard import Guard
from framework.util.python_file import import_file

__all__ = ["SETTING", "environment_factory", "scores_itself", "tools_of"]

SETTING, RESET, GET_REWARD = "method.environment", "reset", "get_reward"


def environment_factory(place: str) -> Callable[[], Any]:
    """Return what makes environments, by its place: `package.module:Class`, or `./file.py:Class`.

    Raises:
        FrameworkError: it cannot be imported, or its class has no `reset`.
    """
    module, _, name = place.rpartition(":")
    if not module or not name:
        raise FrameworkError(f"{SETTING}={place} names no class: give ./file.py:Class, or package.module:Class")
    with Guard(f"{SETTING}={place} cannot be loaded"):
        factory: Callable[[], Any] = operator.attrgetter(name)(_import_module(module))
    if not callable(factory) or (inspect.isclass(factory) and not callable(getattr(factory, RESET, None))):
        raise FrameworkError(f"{SETTING}={place} is not a class with a method `{RESET}`, which begins each answer")
    return factory


def _import_module(source: str) -> ModuleType:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    file = Path(source).expanduser().resolve()
    if not file.is_file():
        raise FrameworkError(f"{SETTING}: there is no file {source}")
    return import_file(file, file.stem)


def tools_of(environment: Any) -> Mapping[str, Callable[..., Any]]:
    """Return the tools of an environment by their names: its public methods, but for `reset` and `get_reward`."""
    names = (name for name, _ in inspect.getmembers(type(environment), inspect.isfunction))
    tools = [name for name in names if name not in {RESET, GET_REWARD} and not name.startswith("_")]
    return {name: getattr(environment, name) for name in tools}


def scores_itself(environment: Any) -> bool:
    """Whether an environment, or its class, has a reward of its own."""
    kind = environment if inspect.isclass(environment) else type(environment)
    return inspect.isfunction(getattr(kind, GET_REWARD, None))
