"""No module of a plugin imports itself by way of others, also not inside a function."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
MODULES = {
    ".".join(file.relative_to(PLUGINS).with_suffix("").parts): file
    for file in PLUGINS.rglob("*.py")
    if file.name != "__init__.py" and "hf" not in file.parts
}


def imported(file: Path) -> set[str]:
    """Return the modules that a file imports; plugins have no relative imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & MODULES.keys()


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter({name: imported(file) for name, file in MODULES.items()}).prepare()
