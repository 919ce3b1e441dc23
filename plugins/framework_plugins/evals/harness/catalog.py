"""The available tasks, without importing lm-eval: the user's own, those of the general suite, and lm-eval's.

lm-eval reads 14,000 YAML files to know its own tasks, which takes it eight seconds. Names stand at the beginning of
lines, so a text search finds them, and only the files of the requested tasks are read as YAML.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SUITE = Path(__file__).parents[1] / "general"
"""The general suite, which is always there."""
KEY = re.compile(
    r"^\"?(task|group|tag|include|class)\"?:[ \t]*([^\n]*)((?:\n[ \t]*-[^\n]*|\n[ \t]*#[^\n]*)*)", re.MULTILINE
)
ITEM = re.compile(r"^[ \t]*-[ \t]*([\w.:/+-]+|\"[^\"]*\"|'[^']*')[ \t]*(?:#.*)?$", re.MULTILINE)
Index = Mapping[str, tuple[Path, ...]]
"""For each name the files of its task or group, of a tag all that have it."""


class _Loader(yaml.SafeLoader):
    """Reads a task's file without importing the Python that it names."""


_Loader.add_constructor("!function", lambda _, node: f"!function {node.value}")


@dataclass(frozen=True)
class Task:
    """One task: its name, its file, and what the file and those that it includes say."""

    name: str
    file: Path
    settings: Mapping[str, Any]


class Catalog:
    """The tasks that can be asked for.

    Args:
        folders: folders of the user with YAML files of lm-eval; the general suite is always looked into.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = (*folders, SUITE)

    @functools.cached_property
    def local(self) -> Index:
        """The names in the user's folders and in the general suite."""
        found: dict[str, tuple[Path, ...]] = {}
        for folder in reversed(self.folders):  # the first has the last word
            found |= _index(folder)
        return found

    @property
    def installed(self) -> Index:
        """The names that lm-eval brings."""
        home = lm_eval_tasks()
        return _index(home) if home else {}

    def expand(self, names: Iterable[str]) -> list[str]:
        """Return the names that patterns such as `mmlu_*` stand for; other words as they are."""
        expanded: list[str] = []
        for name in names:
            if set(name) & {"*", "?", "["}:
                known = fnmatch.filter(self.local, name) or fnmatch.filter(self.installed, name)
                expanded += sorted(known) or [name]
            else:
                expanded.append(name)
        return list(dict.fromkeys(expanded))

    def tasks(self, name: str) -> list[Task]:
        """Return the tasks that a name stands for: one, or all of a group or a tag.

        Raises:
            KeyError: nothing has this name.
            OSError: its file cannot be read.
            ValueError: its file is no YAML that says what a task is.
        """
        if Path(name).suffix == ".yaml":
            return list(self._members(name, Path(name)))
        files = self.local.get(name) or self.installed[name]
        return [task for file in files for task in self._members(name, file)]

    def _members(self, name: str, file: Path) -> Iterator[Task]:
        settings = read(file)
        if isinstance(settings.get("task"), list):
            yield from self._group(name, file, settings["task"])
        else:
            yield Task(str(settings.get("task", name)), file, settings)

    def _group(self, name: str, file: Path, members: Sequence[Any]) -> Iterator[Task]:
        """Give the tasks of a group; a member is a name, a name with other settings, or a group or task of its own."""
        for member in members:
            given = {"task": member} if isinstance(member, str) else member
            known = given.get("group", given["task"])
            if known in self.local or known in self.installed:
                changed = {key: value for key, value in given.items() if key not in {"task", "group"}}
                yield from (Task(task.name, task.file, {**task.settings, **changed}) for task in self.tasks(known))
            elif isinstance(given["task"], list):
                yield from self._group(f"{name}::{known}", file, given["task"])
            else:
                yield Task(f"{name}::{known}", file, given)


def lm_eval_tasks() -> Path | None:
    """Return the folder of the tasks that lm-eval brings, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec("lm_eval")
    return Path(spec.origin).parent / "tasks" if spec and spec.origin else None


def read(file: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a task's file with those that it includes.

    Raises:
        OSError: one of them cannot be read.
        ValueError: one of them is no YAML with names and values, or includes itself.
    """
    try:
        settings = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        message = f"{file} is no YAML: {' '.join(str(error).split())}"
        raise ValueError(message) from error
    if not isinstance(settings, dict) or file in seen:
        message = f"{file} includes itself" if file in seen else f"{file} has no names with values"
        raise ValueError(message)
    included = settings.pop("include", [])
    merged: dict[str, Any] = {}
    for other in included if isinstance(included, list) else [included]:
        merged |= read((file.parent / other).resolve(), (*seen, file))
    return merged | settings


@functools.cache
def _index(folder: Path) -> Index:
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        for name in _names(file):
            found.setdefault(name, []).append(file)
    return {name: tuple(files) for name, files in found.items()}


def _names(file: Path) -> Iterator[str]:
    """Give the names that a file of tasks can be asked for by: its task or group, and its tags."""
    keys = _keys(file)
    yield from keys.get("task", ()) if "class" in keys else keys.get("group") or keys.get("task", ())
    yield from keys.get("tag", ())
    for other in keys.get("include", ()):
        yield from _keys(file.parent / other).get("tag", ())


@functools.cache
def _keys(file: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the values of those top-level keys that name tasks; a group's list of tasks is left out."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for key, value, lines in KEY.findall(text):
        written = value.split(" #")[0].strip()
        if written.startswith("["):
            names = [part.strip() for part in written.strip("[]").split(",")]
        elif written and not written.startswith("#"):
            names = [written]
        else:
            names = [] if key == "task" else ITEM.findall(lines)
        found[key] = tuple(name.strip("\"'") for name in names)
    return found
