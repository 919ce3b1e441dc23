"""contrib/gallery: the data of its six tasks, and that each composes, plans and proves its rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forked_program import MODULE, launch, trainers
from tests.support.tiny import tiny_llama

GALLERY = Path(__file__).parents[2] / "contrib/gallery"
TASKS = sorted(file.stem for file in (GALLERY / "conf/experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    shutil.copytree(GALLERY / "conf", folder / "conf")
    subprocess.run([sys.executable, GALLERY / "make_data.py", folder / "data"], check=True)
    tiny_llama(folder / "model")
    return folder


def read(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_the_prompts_of_a_task_are_not_in_its_training_rows(task: str, place: Path) -> None:
    rows, asked = read(place / f"data/{task}.jsonl"), read(place / f"data/{task}_tests.jsonl")
    assert (len(rows), len(asked)) == (240, 60)
    assert len({row["prompt"] for row in [*rows, *asked]}) == 300


@pytest.mark.parametrize("task", [TASKS[0], *(pytest.param(task, marks=pytest.mark.slow) for task in TASKS[1:])])
def test_a_task_is_planned_and_its_rows_are_proven(task: str, place: Path) -> None:
    words = [f"+experiment={task}", "stages=[data]", f"run_dir={task}", "model=local", "model.path=model"]
    ended = launch(MODULE, *words, cwd=place, of=trainers())
    assert ended.code == 0, ended.err
    data = json.loads((place / task / "data.json").read_text(encoding="utf-8"))
    assert (data["prompts"], data["proof"]["failed"]) == (60, 0)
    assert not [found for found in data["findings"] if found["name"] == "leaked" and "prompts" in found["text"]]
