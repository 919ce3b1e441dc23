"""What lm-eval writes with `--log_samples`: `samples_TASK_DATE.jsonl`, and beside it `results_DATE.json`.

Of a sample only its scores are kept, so a log may be of any size. lm-eval itself is not needed.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import Aspect, display_path
from framework_plugins.evals.comparison.evaluations import (
    Evaluation,
    Item,
    Scores,
    Texts,
    cluster_of,
    content,
    direction,
    figure,
    json_lines,
    number_of,
    texts_in,
    twice,
)
from framework_plugins.evals.harness.figures import measures, subtasks
from framework_plugins.evals.harness.names import measure_name

SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
NOT_METRICS = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash", "schema_version",
}  # fmt: skip
DEEPEST = 2
"""How far below a folder logs are: `OUTPUT/MODEL/samples_…`."""


def logs_in(folder: Path) -> list[Path]:
    """Return the files with samples in a folder and below it."""
    return sorted(file for file in _search(folder, "samples_*.jsonl") if SAMPLES.fullmatch(file.name))


def has_results(folder: Path) -> bool:
    """Whether lm-eval has written figures there."""
    return any(_search(folder, "results_*.json"))


def _search(folder: Path, pattern: str) -> Iterator[Path]:
    return (file for depth in range(DEEPEST + 1) for file in folder.glob("*/" * depth + pattern))


def read(path: Path, files: Sequence[Path], cluster: str, *, texts: bool) -> Evaluation:
    """Read the samples of one evaluation, a file for each task.

    Raises:
        FrameworkError: the files are of several evaluations, a line has another shape, or a sample is there twice.
    """
    tasks = _files_by_task(path, files)
    evaluation = Evaluation(display_path(path), "lm-eval")
    results = _results({_date(file): file for file in files if _date(file)})
    samples: dict[str, list[dict[str, Any]]] = {}
    keys: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    text_store = Texts()
    for task, file in tasks.items():
        rows = _rows(file, task, cluster, evaluation, text_store if texts else Texts(0))
        # A row for each filter; of each filter the documents in one order.
        samples[task] = [
            {"filter": filter_name, **scores} for filter_name, documents in rows.items() for _, scores in documents
        ]
        for filter_name, documents in rows.items():
            for key, scores in documents:
                for metric in scores:
                    keys[task, filter_name, metric].append(key)
    printed = bool(results)
    results = results or _compute_figures(samples)
    results = _select_tasks(results, samples)
    evaluation.versions = {f"task {task}": str(results.get("versions", {}).get(task, "")) for task in tasks}
    _add_measures(evaluation, results, keys, printed=printed)
    return evaluation


def _files_by_task(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    tasks: dict[str, Path] = {}
    for file in files:
        name = SAMPLES.fullmatch(file.name)
        # Files that the user has named are of one task, as far as their names say: their items are compared.
        of_task = file.stem.removeprefix("samples_")
        task = name["task"] if name else of_task if of_task != file.stem else "task"
        if task in tasks:
            raise FrameworkError(
                f"{display_path(path)} has two logs of the task {task}, {tasks[task].name} and {file.name}: name one "
                "of the files, or the folder of one evaluation"
            )
        tasks[task] = file
    return tasks


def _date(file: Path) -> str:
    name = SAMPLES.fullmatch(file.name)
    return name["date"] if name else ""


def _results(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the figures of all tasks, as lm-eval wrote them beside the samples; empty if they are not there."""
    results: dict[str, Any] = {}
    for date, file in files.items():
        for results_file in file.parent.glob(f"*_{date}.json"):
            try:
                values = json.loads(results_file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise FrameworkError(f"{display_path(results_file)} cannot be read: {error}") from error
            for part in ("results", "higher_is_better", "group_subtasks", "versions"):
                results.setdefault(part, {}).update(values.get(part) or {})
    return results


def _rows(
    file: Path, task: str, cluster: str, evaluation: Evaluation, text_store: Texts
) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Return the scores of each document by filter, and add the documents to those that are known."""
    rows: dict[str, dict[str, tuple[int, dict[str, Any]]]] = defaultdict(dict)
    for line_number, row in json_lines(file):
        where = f"{display_path(file)}:{line_number}"
        if "doc_id" not in row or "doc" not in row:
            raise FrameworkError(
                f"{where}: not a sample of lm-eval, which has 'doc_id' and 'doc'. Logs of --log_samples are read, of "
                "lm-eval 0.4 and later"
            )
        key, filter_name = f"{task}/{row['doc_id']}", str(row.get("filter", "none"))
        if key in rows[filter_name]:
            raise twice(where, f"the document {row['doc_id']} of {task}", f"line {rows[filter_name][key][0]}")
        names = row.get("metrics") or [name for name in row if name not in NOT_METRICS]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise FrameworkError(f"{where}: 'metrics' is not a list of names, as lm-eval writes it")
        scores = {name: row[name] for name in names if name in row}
        for name, value in scores.items():
            for part in value if isinstance(value, list) else [value]:
                number_of(part, f"{where}: {name}")
        rows[filter_name][key] = line_number, scores
        if key not in evaluation.items:
            doc = row["doc"]
            fields = doc if isinstance(doc, dict) else {}
            text = text_store.kept("\n".join(texts_in(doc))) if text_store.left > 0 else ""
            group = cluster_of(fields, cluster, where)
            evaluation.items[key] = Item(content(doc, str(row.get("target"))), text, str(row.get("target")), group)
    return {
        filter_name: [(key, scores) for key, (_, scores) in sorted(documents.items(), key=lambda pair: _order(pair[0]))]
        for filter_name, documents in rows.items()
    }


def _order(key: str) -> tuple[int, str]:
    doc_id = key.rpartition("/")[2]
    return (int(doc_id), "") if doc_id.isdigit() else (0, doc_id)


def _compute_figures(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the means of single numbers, if the figures of lm-eval are not there."""
    figures: dict[str, dict[str, float]] = {}
    for task, rows in samples.items():
        values: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            for name, value in row.items():
                if name != "filter" and isinstance(value, bool | int | float):
                    values[f"{name},{row['filter']}"].append(float(value))
        # Of a perplexity, lm-eval keeps log-likelihoods.
        figures[task] = {
            name: sum(scores) / len(scores) for name, scores in values.items() if not name.startswith("perplexity,")
        }
    return {"results": figures, "higher_is_better": {}, "group_subtasks": {}}


def _select_tasks(results: Mapping[str, Any], samples: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the tasks with samples, and of groups whose tasks all have samples."""
    groups = results.get("group_subtasks") or {}
    complete_groups = {name for name in groups if {*subtasks(results, name)} <= samples.keys()}
    task_figures = {
        name: figures for name, figures in results["results"].items() if name in samples or name in complete_groups
    }
    members = {name: groups[name] for name in complete_groups}
    return {**results, "results": task_figures, "group_subtasks": members, "samples": samples}


def _add_measures(
    evaluation: Evaluation, results: Mapping[str, Any], keys: Mapping[tuple[str, str, str], list[str]], *, printed: bool
) -> None:
    parts = {
        measure_name(task, metric, filter_name): (task, metric, filter_name)
        for task, figures in results["results"].items()
        for metric, comma, filter_name in (key.partition(",") for key in figures)
        if comma
    }
    unpaired: list[str] = []
    for name, measure in measures(results, Aspect.task, evaluation.notes):
        task, metric, filter_name = parts[name]
        members = list(subtasks(results, task))
        places = [key for member in members for key in keys.get((member, filter_name, metric), [])]
        if len(measure.items) == len(places) > 0:
            higher = (results["higher_is_better"].get(task) or {}).get(metric)
            up = direction(metric) if higher is None else bool(higher)
            text = figure(measure.value, measure.stderr) if printed else ""
            directed = replace(measure, higher_is_better=bool(up), item="item")
            evaluation.measures[name] = Scores(directed, places, up, text, measure.stderr)
        elif places:
            unpaired.append(name)
    for name, scores in evaluation.measures.items():
        evaluation.measures[name] = replace(scores, part_of=_group_of(parts[name], results, evaluation))
    if unpaired:
        evaluation.notes.append(
            f"not compared: {', '.join(unpaired)}; lm-eval's figure is not a mean over items, so nothing can be paired"
        )


def _group_of(part: tuple[str, str, str], results: Mapping[str, Any], evaluation: Evaluation) -> str:
    """Return the largest group of tasks that has the same measure over these tasks and more; empty if none has."""
    task, metric, filter_name = part
    members = {*subtasks(results, task)}
    larger = {
        group: leaves
        for group in results.get("group_subtasks") or {}
        if measure_name(group, metric, filter_name) in evaluation.measures
        and members < (leaves := {*subtasks(results, group)})
    }
    return max(larger, key=lambda group: len(larger[group]), default="")
