"""lm-eval's own index of its tasks, in a process that imports lm-eval and nothing else.

It reads 14,000 files, which takes up to half a minute, so the index is kept on disk for each version of lm-eval.
"""

from __future__ import annotations

from pathlib import Path

import lm_eval.tasks


def index() -> dict[str, list[str]]:
    """Return for each name of a task, group or tag the files of its tasks, relative to the folder of all tasks."""
    home = Path(lm_eval.tasks.__file__).parent
    task_index = lm_eval.tasks.TaskManager().task_index
    files = {name: [entry.yaml_path] if entry.yaml_path else [] for name, entry in task_index.items()}
    for name, entry in task_index.items():
        if not files[name]:  # a tag, which has no file
            files[name] = sorted(file for task in entry.tags for file in files[task])
    return {name: [str(file.relative_to(home)) for file in paths] for name, paths in files.items()}
