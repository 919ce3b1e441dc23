"""Which tests run: the kinds, and the parts of what no run takes by default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import costs, kinds, parts
from tests.support.project import project


def helper() -> None:
    subprocess.run([sys.executable], check=True)


def begins_a_process() -> None:
    helper()


def composes_inside() -> None:
    def inner() -> None:
        project(Path()).run("--help")

    inner()


def trains() -> None:
    import torch

    torch.zeros(1)


def test_the_kind_of_a_test_follows_from_what_it_and_its_helpers_name() -> None:
    found = [kinds.kind(kinds.reached(each)) for each in (Path.exists, composes_inside, begins_a_process, trains)]
    assert found == ["static", "in_process", "program", "training"]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_each_file_is_in_one_part(count: int) -> None:
    every = [SimpleNamespace(path=Path(f"test_{number // 2}.py"), number=number) for number in range(10)]
    taken: list[Any] = []
    for part in range(1, count + 1):
        items: list[Any] = [*every]
        left: list[Any] = []
        hook = SimpleNamespace(pytest_deselected=lambda items, left=left: left.extend(items))
        config: Any = SimpleNamespace(getoption=lambda _, part=part: f"{part}/{count}", hook=hook)
        parts.pytest_collection_modifyitems(config, items)
        assert len(items) + len(left) == len(every)
        assert not {item.path for item in items} & {item.path for item in taken}
        taken += items
    assert sorted(item.number for item in taken) == [*range(10)]


def test_seconds_of_processes_that_ended_count() -> None:
    before = costs.seconds()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert costs.seconds() - before >= 0.3


def test_each_folder_with_tests_has_a_budget() -> None:
    root = costs.TABLE.parents[1]
    files = (file for folder in ("tests", "plugins/framework_gpu_tests") for file in (root / folder).rglob("test_*.py"))
    assert {costs.folder_of(str(file.relative_to(root))) for file in files} == {*costs.budget()}
