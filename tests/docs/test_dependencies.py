"""Every dependency of pyproject.toml has a row in docs/explanation/dependencies.md, and nothing else has one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/explanation/dependencies.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: list(map(Requirement, lines)) for name, lines in PROJECT["optional-dependencies"].items()}
OURS = ("test", "check")
"""Extras for those who work on the code."""


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    return table[1:]


def held(extra: str) -> set[str]:
    """Return what an extra brings, extras that it names included."""
    found: set[str] = set()
    for wanted in EXTRAS[extra]:
        ours = wanted.name == PROJECT["name"]
        found |= set().union(*(held(each) for each in wanted.extras)) if ours else {wanted.name}
    return found


def test_the_base_has_a_row_for_each_package() -> None:
    wanted = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert sorted(row[0] for row in rows("Base")) == sorted(wanted)


def test_each_package_of_an_extra_has_a_row_with_the_extras_that_bring_it() -> None:
    brought: dict[str, set[str]] = {}
    for extra in EXTRAS.keys() - {*OURS, "all"}:
        for name in held(extra):
            brought.setdefault(name, set()).add(extra)
    assert {row[0]: set(row[1].split(", ")) for row in rows("Extras")} == brought


def test_all_is_every_extra_that_can_stand_in_one_environment() -> None:
    (everything,) = EXTRAS["all"]
    assert everything.extras == EXTRAS.keys() - {*OURS, "all", "gpu", "ray", "s3", "unsloth"}


def test_each_row_says_what_for_and_what_instead() -> None:
    assert all(len(row) == 3 and all(row) for row in rows("Base"))
    assert all(len(row) == 4 and all(row) for row in rows("Extras"))
