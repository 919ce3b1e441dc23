"""Sweeps of the echo backend in processes of their own: the backend comes from a file, so that workers have it too."""

import json
from pathlib import Path
from typing import Any

from tests.support import ending
from tests.support.forked_program import Result, program

ROWS = "".join(f'{{"instruction": "{number}?", "output": "{number}"}}\n' for number in range(12))
WORDS = [*ending.WORDS, "evaluator=[prompts]", "hydra.sweep.dir=x"]


def prepare(folder: Path) -> Path:
    """Write data and backend into a new folder."""
    folder.mkdir()
    (folder / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    (folder / ending.FILE).write_text(ending.PLUGIN, encoding="utf-8")
    return folder


def sweep(folder: Path, *words: str, **env: str) -> Result:
    """Run a sweep into the folder `x`."""
    return program("-m", *WORDS, *words, cwd=folder, env=env)


def points(folder: Path) -> list[dict[str, Any]]:
    """Return the points of `sweep.json`."""
    saved = json.loads((folder / "x" / "sweep.json").read_text(encoding="utf-8"))
    trials: list[dict[str, Any]] = saved["trials"]
    return trials


def hardware(folder: Path) -> list[dict[str, str]]:
    """Return the facts of the machine of each point, in their order."""
    files = sorted((folder / "x").glob("*/report.json"), key=lambda file: int(file.parent.name))
    return [json.loads(file.read_text(encoding="utf-8"))["hardware"] for file in files]
