"""constraints.txt: what `make quickstart` and `make test` install, whatever was released since."""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.constraints import APART, ROOT, named

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
PINNED = {name: Version(version) for name, version in (line.split("==") for line in LINES)}


def test_each_dependency_has_a_version() -> None:
    assert {*named()} == PINNED.keys()


def test_each_version_is_one_that_the_project_admits() -> None:
    lines = [*PROJECT["dependencies"]]
    lines += [line for extra, of_it in PROJECT["optional-dependencies"].items() if extra not in APART for line in of_it]
    bounds = [Requirement(line) for line in lines if not line.startswith(PROJECT["name"])]
    assert len(bounds) > len(PINNED) / 2
    assert [str(bound) for bound in bounds if PINNED[bound.name.lower().replace("_", "-")] not in bound.specifier] == []
