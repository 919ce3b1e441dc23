"""The names of the figures of `evaluator=lm_eval`, and problems of its config and task files.

Nothing here imports lm-eval or reads data, so a mistake is reported before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from framework.api import Problem, nearest
from framework_plugins.evals.harness.catalog import GENERAL_SUITE, Catalog, Task, lm_eval_tasks, read_task_file
from framework_plugins.evals.harness.data import data_root, missing_files

NO_FILTER = "none"
MAX_SUGGESTIONS = 3
"""Names that an unknown one may stand for."""
DEFAULT_METRICS = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match",),
}
"""What lm-eval measures if a task does not say."""


def task_folders(include_path: str | None) -> list[Path]:
    """Return the folder of the user's own tasks, if there is one."""
    return [Path(include_path).expanduser().absolute()] if include_path else []  # lm-eval's own folder is another


def measure_name(task: str, metric: str, filter_name: str = NO_FILTER) -> str:
    """Return the name of a measure: `gsm8k.exact_match.strict-match`, without the filter if there is none."""
    return ".".join([task, metric, *([] if filter_name == NO_FILTER else [filter_name])])


def measures(tasks: Sequence[str], include_path: str | None) -> tuple[str, ...]:
    """Return the measures of the tasks, as far as their files name them: Python can make up others."""
    catalog = Catalog(task_folders(include_path))
    names: dict[str, None] = {}
    for name in catalog.expand(tasks):
        try:
            members = catalog.tasks(name)
        except (KeyError, OSError, ValueError):  # `problems` tells it
            continue
        group = _group_settings(catalog, name)
        names |= dict.fromkeys([*_measure_names(name, group, "aggregate_metric_list")] if group else [])
        for task in members:
            names |= dict.fromkeys(_measure_names(task.name, task, "metric_list"))
    return tuple(names)


def _group_settings(catalog: Catalog, name: str) -> Task | None:
    """Return the settings in the file of a group; None for a task or a tag."""
    files = catalog.local.get(name) or catalog.installed.get(name, ())
    settings = read_task_file(files[0]) if len(files) == 1 else {}
    return Task(name, files[0], settings) if settings.get("group") == name else None


def _measure_names(name: str, task: Task, key: str) -> Iterator[str]:
    settings = task.settings
    listed = settings.get(key) or []
    metrics = [entry["metric"] for entry in listed] or DEFAULT_METRICS.get(
        settings.get("output_type", "generate_until"), ()
    )
    filters = [entry["name"] for entry in settings.get("filter_list") or []] or [NO_FILTER]
    if key == "aggregate_metric_list":
        requested = [filter_name for entry in listed for filter_name in _as_list(entry.get("filter_list", NO_FILTER))]
        filters = list(dict.fromkeys(requested)) or [NO_FILTER]
    return (measure_name(name, str(metric), filter_name) for metric in metrics for filter_name in filters)


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def problems(option: str, tasks: Sequence[str], include_path: str | None) -> Iterator[Problem]:
    """Say what is wrong with the settings of an option `evaluator.OPTION`."""
    key = f"evaluator.{option}"
    if not all(folder.is_dir() for folder in task_folders(include_path)):
        yield Problem(
            f"{key}.include_path={include_path} is not a folder with YAML task files",
            (f"evaluator.{option}.include_path",),
        )
        return
    catalog = Catalog(task_folders(include_path))
    for name in catalog.expand(tasks):
        try:
            members = catalog.tasks(name)
        except KeyError:
            yield Problem(f"{key}.tasks: {_unknown_task(name, catalog)}")
        except (OSError, ValueError) as error:
            yield Problem(f"{key}.tasks: '{name}' cannot be read: {error}")
        else:
            for task in members:
                yield from _task_problems(f"{key}.tasks", task)


def _task_problems(key: str, task: Task) -> Iterator[Problem]:
    if absent := missing_files(task):
        where = f"in the working folder or in {task.file.parent}" if data_root([task]) != Path.cwd() else "there"
        yield Problem(f"{key}: the data of '{task.name}' are missing: no {', '.join(absent)} {where} ({task.file})")
    settings = task.settings.get("generation_kwargs") or {}
    if settings.get("do_sample") and task.settings.get("output_type", "generate_until") == "generate_until":
        yield Problem(
            f"{key}: '{task.name}' samples its answers, but here they are greedy: set do_sample: false in a "
            f"copy of {task.file}"
        )


def _unknown_task(name: str, catalog: Catalog) -> str:
    """Return the error text for an unknown task, with the nearest names."""
    local_names = [task for task in catalog.local if catalog.local[task][0].parent != GENERAL_SUITE]
    close = nearest(name, catalog.local, count=MAX_SUGGESTIONS) or nearest(
        name, catalog.installed, count=MAX_SUGGESTIONS
    )
    hint = f" Did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
    local_hint = f" In include_path: {', '.join(sorted(local_names)) or 'none'}." if len(catalog.folders) > 1 else ""
    ls = "`lm_eval ls tasks` lists those of lm-eval" if lm_eval_tasks() else "lm-eval is not installed"
    return f"unknown task '{name}'.{hint}{local_hint} `general` is built in; {ls}."
