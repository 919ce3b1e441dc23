"""The parts of the slow tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts import TOGETHER, part_of


@dataclass(frozen=True)
class Collected:
    path: Path
    number: int


def test_the_parts_are_all_tests_once_and_none_has_more_than_its_share_of_a_large_file() -> None:
    sizes = {"test_b.py": 30, "test_a.py": 1, "test_c.py": 5, **{f"test_{n}.py": 2 for n in range(20)}}
    tests = [Collected(Path(name), number) for name, size in sizes.items() for number in range(size)]
    parts = [part_of(tests, part, 9) for part in range(1, 10)]
    assert sorted((test.path, test.number) for part in parts for test in part) == sorted(
        (test.path, test.number) for test in tests
    )
    assert max(max(Counter(test.path for test in part).values()) for part in parts) == TOGETHER
    groups = [len({test.path for test in part}) for part in parts]
    assert max(groups) - min(groups) <= 1
