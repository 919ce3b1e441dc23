"""benchmarks: a page, the source or a test names each module, or a benchmark that they name imports it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE = re.compile(r"\bbenchmarks(?:\.|/| import )(\w+)")


def test_a_benchmark_that_nothing_names_is_deleted() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks").iterdir() if path.suffix == ".py" or path.is_dir()}
    modules -= {"__init__", "__pycache__", "peers"}
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md")]
    files += [file for folder in ("framework", "plugins", "tests") for file in (ROOT / folder).rglob("*.py")]
    named = set[str]().union(*(MODULE.findall(file.read_text(encoding="utf-8")) for file in files))
    waiting = [*named & modules]
    while waiting:
        source = ROOT / "benchmarks" / f"{waiting.pop()}.py"
        imported = {*MODULE.findall(source.read_text(encoding="utf-8"))} & modules if source.is_file() else set()
        waiting += imported - named
        named |= imported
    assert sorted(modules - named) == []
