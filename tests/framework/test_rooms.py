"""The rooms of the core: few, each with a text that leads into it, and no circle of modules among them."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from tests.support.sources import tree

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "framework"
ROOMS = sorted(folder.name for folder in CORE.iterdir() if (folder / "__init__.py").exists())
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in CORE.rglob("*.py")
}


def imported(name: str) -> set[str]:
    """Return the modules of the core that a module imports anywhere in it; a package stands for its `__init__`."""
    found: set[str] = set()
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree(MODULES[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = resolve_name("." * node.level + (node.module or ""), package)
            found |= {each if (each := f"{home}.{alias.name}") in MODULES else home for alias in node.names}
    return found & MODULES.keys() - {name}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_what_it_imports_and_where_to_start(room: str) -> None:
    text = ast.get_docstring(tree(CORE / room / "__init__.py")) or ""
    lines = text.splitlines()
    assert lines[0].endswith(".")
    assert any(line.startswith("Imports: ") for line in lines)
    (start,) = [line for line in lines if line.startswith("Start with `")]
    assert (CORE / room / start.split("`")[1]).exists()


def _behind(name: str, importer: str) -> set[str]:
    """Return a module; for the `__init__` of another package than the importer's, what it hands on."""
    if MODULES[name].name != "__init__.py":
        return {name}
    own = importer.startswith(f"{name}.")
    return (
        set()
        if own
        else {one for each in imported(name) if each.startswith(f"{name}.") for one in _behind(each, importer)}
    )


def test_no_module_imports_itself_by_way_of_others() -> None:
    plain = [name for name, file in MODULES.items() if file.name != "__init__.py"]
    TopologicalSorter(
        {name: {one for each in imported(name) for one in _behind(each, name)} for name in plain}
    ).prepare()
