"""Local tasks for lm-eval, of each kind of output, with their data files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

QUESTIONS = [
    {"text": f"Which number follows {n}? The answer is", "choices": [str(n + k) for k in (2, 1, 3)], "answer": 1}
    for n in range(1, 9)
]
ASKED = [{"text": f"Add the two numbers. {n} and 1", "answer": str(n + 1)} for n in range(6)]
TEXTS = [{"text": f"Below is an instruction that describes task {n}. " * 3} for n in range(4)]
HEAD = "dataset_path: json\ntest_split: test\n"
TASKS: Mapping[str, tuple[Sequence[Mapping[str, Any]], str]] = {
    "follows": (
        QUESTIONS,
        "output_type: multiple_choice\ndoc_to_text: text\ndoc_to_choice: choices\ndoc_to_target: answer\n"
        "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
        "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n",
    ),
    "said": (
        ASKED,
        "output_type: generate_until\ndoc_to_text: text\ndoc_to_target: answer\n"
        "generation_kwargs: {until: ['.', '7'], max_gen_toks: 70, do_sample: false}\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n",
    ),
    "likely": (ASKED, "output_type: loglikelihood\ndoc_to_text: text\ndoc_to_target: \"{{' ' + answer}}\"\n"),
    "rolling": (TEXTS, "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n"),
}


def write_tasks(folder: Path) -> Path:
    """Write all tasks and a group of them into a folder; the paths of their data are relative."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (rows, settings) in TASKS.items():
        write_task(folder, name, rows, settings)
    members = "group: both\ntask: [follows, said]\n"
    aggregate = "aggregate_metric_list:\n  - {metric: acc, weight_by_size: true}\n"
    (folder / "both.yaml").write_text(members + aggregate, encoding="utf-8")
    return folder


def write_task(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], settings: str) -> Path:
    """Write one task and its data; return its file."""
    data = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(data, encoding="utf-8")
    files = f"dataset_kwargs: {{data_files: {{test: {name}.jsonl}}}}\n"
    file = folder / f"{name}.yaml"
    file.write_text(f"task: {name}\n{HEAD}{files}{settings}", encoding="utf-8")
    return file
