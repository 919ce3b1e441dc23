"""The public API: what it offers, that plugins use nothing else, and that nothing in it changes unnoticed."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import api_page
from tests.support.sources import tree

ROOT = Path(__file__).resolve().parents[3]
MOST_EXCEPTIONS = 7
"""Exceptions from the order of the rooms, in pyproject.toml. Lower the number when one goes; never raise it."""


def test_the_committed_snapshot_is_the_api() -> None:
    changed = set(api_page.snapshot().splitlines()) ^ set(api_page.SNAPSHOT.read_text(encoding="utf-8").splitlines())
    assert not changed, "a public name or signature changed: `make reference`, and announce it in the changelog"


def test_the_committed_page_is_up_to_date() -> None:
    assert api_page.page() == api_page.PAGE.read_text(encoding="utf-8")


def test_the_page_says_how_a_class_is_made_and_how_a_method_is_called() -> None:
    page = api_page.page()
    assert "\n  - `load() -> RawData`: Find the rows.\n" in page
    assert "\n  - `export(model: Model, context: ExportContext) -> list[Artifact]`: " in page
    assert "\n- `ModelPlace(folder: Path, name: str, revision: str=''" in page
    assert "\n- `CommandParser(command: str, about: str|None=None, **options: Any)`: " in page
    assert "\n  - `__call__(scores: TokenScores) -> LossValue`: " in page


def test_a_public_module_names_what_it_offers_and_says_what_it_is() -> None:
    modules = {name: importlib.import_module(name) for name in api_page.public_modules()}
    assert [name for name, module in modules.items() if not module.__doc__] == []
    assert [name for name, module in modules.items() if len({*module.__all__}) != len(module.__all__)] == []
    offered = [(f"{name}.{each}", getattr(module, each)) for name, module in modules.items() for each in module.__all__]
    ours = [(name, thing) for name, thing in offered if str(getattr(thing, "__module__", "")).startswith("framework")]
    told = [(name, thing) for name, thing in ours if callable(thing) and not name.rpartition(".")[2].isupper()]
    assert [name for name, thing in told if not thing.__doc__] == []


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}:{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (f"{alias.name}:" for alias in node.names)


@pytest.mark.parametrize("folder", ["plugins/framework_plugins", "contrib"])  # `framework_gpu_tests` tests inner parts
def test_plugins_import_public_names_alone(folder: str) -> None:
    public = {name: set(importlib.import_module(name).__all__) for name in api_page.public_modules()}
    past = {
        f"{file.relative_to(ROOT)} imports {place}"
        for file in (ROOT / folder).rglob("*.py")
        for place in imported(file)
        if (parts := place.partition(":"))[0].partition(".")[0] == "framework"
        and parts[2] not in public.get(parts[0], ())
        and f"{parts[0]}.{parts[2]}" not in public
        and not (parts[0] == "framework" and not parts[2])
    }
    assert not past


def test_the_exceptions_from_the_order_of_the_rooms_only_shrink() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract for contract in contracts if contract.get("containers") == ["framework"]]
    assert layers["exhaustive"]
    assert len(layers["ignore_imports"]) == MOST_EXCEPTIONS
