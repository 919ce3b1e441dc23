"""The place of a task's data, and whether they are available, without importing lm-eval or `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from framework_plugins.evals.harness.catalog import Task

FILE_FORMATS = {"json", "csv", "text", "parquet", "arrow", "pandas", "xml"}
"""Kinds of files that `datasets` reads by itself, as `dataset_path` has them."""


def data_root(tasks: Sequence[Task]) -> Path:
    """Return the folder from which the data files of tasks are found.

    lm-eval takes them from the working folder. If they are not there, the folder of the task's own file is meant.
    """
    working_folder = Path.cwd()
    for task in tasks:
        if any(not (working_folder / name).exists() for name in relative_files(task)):
            return task.file.resolve().parent
    return working_folder


def relative_files(task: Task) -> Iterator[str]:
    """Give the relative paths of a task's data files."""
    return (name for name in data_files(task) if not Path(name).is_absolute() and "://" not in name)


def data_files(task: Task) -> list[str]:
    """Return the data files and patterns that a task names; empty if its data are not files."""
    if task.settings.get("dataset_path") not in FILE_FORMATS:
        return []
    return list(_all_texts((task.settings.get("dataset_kwargs") or {}).get("data_files", [])))


def _all_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    parts: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _all_texts(part)


def missing_files(task: Task) -> list[str]:
    """Return the data files of a task that do not exist, relative to the folder where they are searched for."""
    folder = data_root([task])
    return [name for name in data_files(task) if "://" not in name and not _exists(folder, name)]


def _exists(folder: Path, name: str) -> bool:
    if set(name) & {"*", "?", "["} and not Path(name).is_absolute():
        return any(folder.glob(name))
    return (folder / name).exists()


def hub_id(task: Task) -> str | None:
    """Return the data set of the Hub that a task reads; None if its data are files, code or a folder."""
    path = task.settings.get("dataset_path")
    own_data = {"custom_dataset", "class"} & set(task.settings)
    if not isinstance(path, str) or own_data or path in FILE_FORMATS or Path(path).exists():
        return None
    return path
