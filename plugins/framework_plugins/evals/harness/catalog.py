"""The available tasks, without importing lm-eval: the user's own, those of the general suite, and lm-eval's.

lm-eval reads 14,000 YAML files to know its own tasks, which takes it eight seconds. Its index is kept in the cache of
the user, by its version, and only the files of the requested tasks are read again.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from framework.api import PythonProcess, cache_dir, key_of, read_json, write_json

GENERAL_SUITE = Path(__file__).parents[1] / "general"
"""The general suite, which is always there."""
PACKAGE = "lm-eval"
Index = Mapping[str, tuple[Path, ...]]
"""For each name the files of its task or group, of a tag all that have it."""


class _Loader(yaml.SafeLoader):
    """Reads a task's file without importing the Python that it names."""


_Loader.add_constructor("!function", lambda _, node: f"!function {node.value}")


@dataclass(frozen=True)
class Task:
    """One task: its name, its file, and the settings in the file and its includes."""

    name: str
    file: Path
    settings: Mapping[str, Any]


class Catalog:
    """The tasks that can be asked for.

    Args:
        folders: folders of the user with YAML files of lm-eval; the general suite is always looked into.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = (*folders, GENERAL_SUITE)

    @functools.cached_property
    def local(self) -> Index:
        """The names in the user's folders and in the general suite."""
        index: dict[str, tuple[Path, ...]] = {}
        for folder in reversed(self.folders):  # the first has the last word
            index |= _index_folder(folder)
        return index

    @property
    def installed(self) -> Index:
        """The names that lm-eval brings.

        Raises:
            FrameworkError: it cannot be imported.
        """
        home = lm_eval_tasks()
        return _installed_index(home) if home else {}

    def expand(self, names: Iterable[str]) -> list[str]:
        """Return the names that patterns such as `mmlu_*` stand for; other words as they are."""
        expanded: list[str] = []
        for name in names:
            if set(name) & {"*", "?", "["}:
                matches = fnmatch.filter(self.local, name) or fnmatch.filter(self.installed, name)
                expanded += sorted(matches) or [name]
            else:
                expanded.append(name)
        return list(dict.fromkeys(expanded))

    def tasks(self, name: str) -> list[Task]:
        """Return the tasks that a name stands for: one, or all of a group or a tag.

        Raises:
            KeyError: nothing has this name.
            OSError: its file cannot be read.
            ValueError: its file is not the YAML of a task.
        """
        if Path(name).suffix == ".yaml":
            return list(self._members(name, Path(name)))
        files = self.local.get(name) or self.installed[name]
        return [task for file in files for task in self._members(name, file)]

    def _members(self, name: str, file: Path) -> Iterator[Task]:
        settings = read_task_file(file)
        if isinstance(settings.get("task"), list):
            yield from self._group(name, file, settings["task"])
        else:
            yield Task(str(settings.get("task", name)), file, settings)

    def _group(self, name: str, file: Path, members: Sequence[Any]) -> Iterator[Task]:
        """Give the tasks of a group; a member is a name, a name with other settings, or a group or task of its own."""
        for member in members:
            settings = {"task": member} if isinstance(member, str) else member
            member_name = settings.get("group", settings["task"])
            if member_name in self.local or member_name in self.installed:
                changed = {key: value for key, value in settings.items() if key not in {"task", "group"}}
                yield from (
                    Task(task.name, task.file, {**task.settings, **changed}) for task in self.tasks(member_name)
                )
            elif isinstance(settings["task"], list):
                yield from self._group(f"{name}::{member_name}", file, settings["task"])
            else:
                yield Task(f"{name}::{member_name}", file, settings)


def lm_eval_tasks() -> Path | None:
    """Return the folder of the tasks that lm-eval brings, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec("lm_eval")
    return Path(spec.origin).parent / "tasks" if spec and spec.origin else None


def read_task_file(file: Path, parents: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a task's file with its includes.

    Raises:
        OSError: one of them cannot be read.
        ValueError: one of them is not YAML with names and values, or includes itself.
    """
    try:
        settings = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict) or file in parents:
        raise ValueError(
            f"{file} includes itself" if file in parents else f"{file} is not a mapping of names to values"
        )
    included = settings.pop("include", [])
    merged: dict[str, Any] = {}
    for include in included if isinstance(included, list) else [included]:
        merged |= read_task_file((file.parent / include).resolve(), (*parents, file))
    return merged | settings


@functools.cache
def _installed_index(home: Path) -> Index:
    """Return lm-eval's own index, which is made once for each version; nothing in the folder changes otherwise."""
    file = cache_dir() / "lm_eval" / f"{key_of(str(home), version(PACKAGE))}.json"
    index = read_json(file)
    if not index:
        with PythonProcess() as process:  # it imports lm-eval, and with it torch
            index = process.call("framework_plugins.evals.harness.index:index")
        write_json(file, index)
    return {name: tuple(home / file for file in files) for name, files in index.items()}


@functools.cache
def _index_folder(folder: Path) -> Index:
    files_by_name: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        try:
            names = _names_in(read_task_file(file))
        except (OSError, ValueError):  # whoever asks for it hears of the mistake
            names = [file.stem]
        for name in names:
            files_by_name.setdefault(name, []).append(file)
    return {name: tuple(files) for name, files in files_by_name.items()}


def _names_in(settings: Mapping[str, Any]) -> list[str]:
    """Return the names that a file of tasks can be asked for by: its task or group, and its tags."""
    task_name = settings.get("task") if "class" in settings else settings.get("group", settings.get("task"))
    tags = settings.get("tag") or []
    return [name for name in [task_name, *([tags] if isinstance(tags, str) else tags)] if isinstance(name, str)]
