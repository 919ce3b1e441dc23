"""The names of the figures of `evaluator=lm_eval`, and problems of its config and task files.

Nothing here imports lm-eval or reads data, so a mistake is reported before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from framework.api import nearest
from framework_plugins.evals.config import LmEvalConfig
from framework_plugins.evals.harness.catalog import SUITE, Catalog, Task, lm_eval_tasks, read
from framework_plugins.evals.harness.data import home, missing

NO_FILTER = "none"
SHOWN = 3
"""Names that an unknown one may stand for."""
DEFAULTS = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match",),
}
"""What lm-eval measures where a task does not say."""


def folders(config: LmEvalConfig) -> list[Path]:
    """Return the folder of the user's own tasks, if there is one."""
    return [Path(config.include_path).expanduser()] if config.include_path else []


def measure_name(task: str, metric: str, filter_name: str = NO_FILTER) -> str:
    """Return the name of a measure: `gsm8k.exact_match.strict-match`, without the filter if there is none."""
    return ".".join([task, metric, *([] if filter_name == NO_FILTER else [filter_name])])


def measures(config: LmEvalConfig) -> tuple[str, ...]:
    """Return the measures of the tasks, as far as their files name them: Python can make up others."""
    catalog = Catalog(folders(config))
    names: dict[str, None] = {}
    for name in catalog.expand(config.tasks):
        try:
            tasks = catalog.tasks(name)
        except (KeyError, OSError, ValueError):  # `problems` tells it
            continue
        group = _group(catalog, name)
        names |= dict.fromkeys([*_figures(name, group, "aggregate_metric_list")] if group else [])
        for task in tasks:
            names |= dict.fromkeys(_figures(task.name, task, "metric_list"))
    return tuple(names)


def _group(catalog: Catalog, name: str) -> Task | None:
    """Return what the file of a group says; None where the name is that of a task or a tag."""
    files = catalog.local.get(name) or catalog.installed.get(name, ())
    settings = read(files[0]) if len(files) == 1 else {}
    return Task(name, files[0], settings) if settings.get("group") == name else None


def _figures(name: str, task: Task, key: str) -> Iterator[str]:
    settings = task.settings
    listed = settings.get(key) or []
    metrics = [entry["metric"] for entry in listed] or DEFAULTS.get(settings.get("output_type", "generate_until"), ())
    filters = [entry["name"] for entry in settings.get("filter_list") or []] or [NO_FILTER]
    if key == "aggregate_metric_list":
        requested = [filter_name for entry in listed for filter_name in _words(entry.get("filter_list", NO_FILTER))]
        filters = list(dict.fromkeys(requested)) or [NO_FILTER]
    return (measure_name(name, str(metric), filter_name) for metric in metrics for filter_name in filters)


def _words(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def problems(option: str, config: LmEvalConfig) -> Iterator[str]:
    """Say what is wrong with the settings of an option `evaluator.OPTION`."""
    place = f"evaluator.{option}"
    if not all(folder.is_dir() for folder in folders(config)):
        yield f"{place}.include_path={config.include_path} is not a folder with YAML task files"
        return
    catalog = Catalog(folders(config))
    for name in catalog.expand(config.tasks):
        try:
            tasks = catalog.tasks(name)
        except KeyError:
            yield f"{place}.tasks: {_unknown(name, catalog)}"
        except (OSError, ValueError) as error:
            yield f"{place}.tasks: '{name}' cannot be read: {error}"
        else:
            for task in tasks:
                yield from _wrong(f"{place}.tasks", task)


def _wrong(place: str, task: Task) -> Iterator[str]:
    if absent := missing(task):
        where = f"in the working folder or in {task.file.parent}" if home([task]) != Path.cwd() else "there"
        yield f"{place}: the data of '{task.name}' are missing: no {', '.join(absent)} {where} ({task.file})"
    settings = task.settings.get("generation_kwargs") or {}
    if settings.get("do_sample") and task.settings.get("output_type", "generate_until") == "generate_until":
        yield (
            f"{place}: '{task.name}' samples its answers, but here they are greedy: set do_sample: false in a "
            f"copy of {task.file}"
        )


def _unknown(name: str, catalog: Catalog) -> str:
    """Say that nothing has a name, with the nearest ones."""
    own = [known for known in catalog.local if catalog.local[known][0].parent != SUITE]
    close = nearest(name, catalog.local, count=SHOWN) or nearest(name, catalog.installed, count=SHOWN)
    hint = f" Did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
    here = f" In include_path: {', '.join(sorted(own)) or 'none'}." if len(catalog.folders) > 1 else ""
    ls = "`lm_eval ls tasks` lists those of lm-eval" if lm_eval_tasks() else "lm-eval is not installed"
    return f"unknown task '{name}'.{hint}{here} `general` is built in; {ls}."
