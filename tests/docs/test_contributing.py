"""CONTRIBUTING.md names files that exist; changelog fragments, pre-commit hooks and the workflow have their form."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOWNCRIER: dict[str, Any] = PROJECT["tool"]["towncrier"]
TYPES = ["added", "changed", "deprecated", "removed", "fixed", "security"]
CHANGES = ROOT / "changes"
FRAGMENTS = sorted(file for file in CHANGES.iterdir() if file.name not in {"README.md", "_template.md"})
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    """A row of the table: what is to be changed, the files for it, and the test."""

    change: str
    files: str
    test: str

    @property
    def sources(self) -> list[str]:
        """The files to touch."""
        return paths(self.files)

    @property
    def names(self) -> list[str]:
        """What to search for in them."""
        return [name for note in re.findall(r"\(([^)]+)\)", self.files) for name in CODE.findall(note)]


def paths(cell: str) -> list[str]:
    """Return the code of a cell that is a path."""
    return [code for code in CODE.findall(cell) if "/" in code]


def table() -> list[Row]:
    section = CONTRIBUTING.partition("\n## Where do I change …\n")[2].partition("\n## ")[0]
    head, line, *rows = [row.strip("| ") for row in section.splitlines() if row.startswith("|")]
    assert (head, line) == ("change | files | test", "---|---|---")
    return [Row(*row.split(" | ")) for row in rows]


ROWS = table()


def test_each_change_has_one_row() -> None:
    assert len({row.change for row in ROWS}) == len(ROWS)


def test_every_path_in_the_table_exists() -> None:
    named = [name for row in ROWS for name in (*row.sources, *paths(row.test))]
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [name for name in named if name.endswith("/") != (ROOT / name).is_dir()] == []


def test_a_change_takes_one_to_three_sources_and_has_a_test() -> None:
    assert [row.change for row in ROWS if not 1 <= len(row.sources) <= 3 or not paths(row.test)] == []
    assert [name for row in ROWS for name in row.sources if name.startswith("tests/")] == []
    assert [name for row in ROWS for name in paths(row.test) if not name.startswith("tests/")] == []


def test_every_name_in_the_table_stands_in_a_file_of_its_row() -> None:
    missing = []
    for row in ROWS:
        places = [ROOT / name for name in row.sources]
        files = [file for place in places for file in (place.glob("*.py") if place.is_dir() else [place])]
        text = "\n".join(file.read_text(encoding="utf-8") for file in files)
        missing += [(row.change, name) for name in row.names if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert missing == []


def test_a_fragment_has_a_type_and_says_one_thing() -> None:
    form = rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(TYPES)})\.md"
    assert [file.name for file in FRAGMENTS if not re.fullmatch(form, file.name)] == []
    texts = {file.name: file.read_text(encoding="utf-8") for file in FRAGMENTS}
    lines = {name: text.splitlines() for name, text in texts.items()}
    assert [name for name, own in lines.items() if not 1 <= len(own) <= 3] == []
    ragged = [name for name, own in lines.items() if [*own] != [line.strip() for line in own if line]]
    assert ragged == []
    assert [name for name, own in lines.items() if max(map(len, own)) > 120] == []
    bare = [name for name, text in texts.items() if not re.match("[A-Z][a-z]+ ", text) or not text.endswith(".\n")]
    assert bare == [], "a fragment begins with a verb, without a bullet, and ends with a full stop"


def test_towncrier_reads_the_fragments_and_writes_below_the_mark_in_the_changelog() -> None:
    assert [part["directory"] for part in TOWNCRIER["type"]] == TYPES
    assert ROOT / TOWNCRIER["directory"] == CHANGES
    assert ROOT / TOWNCRIER["template"] == CHANGES / "_template.md"
    before, *after = (ROOT / TOWNCRIER["filename"]).read_text(encoding="utf-8").split(TOWNCRIER["start_string"])
    assert "\n## " not in before
    assert len(after) == 1


def test_the_workflow_runs_everything_on_each_supported_python() -> None:
    workflow: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]},<3.14"
    actions = {step["uses"].partition("@")[0]: step for step in job["steps"] if "uses" in step}
    assert actions["actions/setup-python"]["with"]["python-version"] == "${{ matrix.python }}"
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in actions.values())
    assert [step["run"] for step in job["steps"] if "run" in step] == ["PYTHON=python bash .ci/run"]
    assert (ROOT / ".ci/run").is_file()
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert job["timeout-minutes"] == 90
