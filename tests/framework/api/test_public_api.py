"""The public API: what it offers, that plugins use nothing else, and that nothing in it changes unnoticed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.api.component import ALL_GROUPS
from tests.support import api_page, audiences
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


def test_each_base_class_protocol_and_record_is_in_the_list_of_an_author() -> None:
    contracts = {
        name
        for name in audiences.everybody() - {*importlib.import_module("framework").__all__}
        if str(audiences.thing(name).__module__ if inspect.isclass(audiences.thing(name)) else "").startswith(
            ("framework.api.protocols", "framework.api.records", "framework.api.schema")
        )
    }
    marks = {"Affects"}
    assert contracts - marks == {
        "GroupedRows",  # made by the core, and by a method of its own rows: its protocol, `TokenGroup`, is in the lists
        "VerdictConfig",  # settings of a plan, no option of a group
    }


def test_a_list_begins_with_what_the_author_subclasses_or_decorates() -> None:
    assert {*audiences.audiences()} == {*ALL_GROUPS, audiences.HOOKS, audiences.SCRIPTS}
    metric = "Answered AnswerMetric AnyMetric MeasureKind Metric metric MetricConfig MetricSuite Scores"
    assert audiences.audiences()["metric"] == metric.split()
    assert {"Model", "TrainRun", "StepControl"} <= {*audiences.audiences()["trainer"]}  # of what `open` returns
    assert "RunFinished" in audiences.audiences()["logger"]  # by its base, `Event`


def written(code: ast.Module) -> Iterator[str]:
    """Give the names of the bases and decorators in a file."""
    for node in ast.walk(code):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            named = [*node.decorator_list, *(node.bases if isinstance(node, ast.ClassDef) else ())]
            plain = [each.func if isinstance(each, ast.Call) else each for each in named]
            yield from (each.id for each in plain if isinstance(each, ast.Name))


def of_pages() -> Iterator[tuple[str, ast.Module]]:
    for page in (ROOT / "docs").rglob("*.md"):
        for block in re.findall(
            r"^```python.*?\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            with contextlib.suppress(SyntaxError):  # a part of a file
                yield page.name, ast.parse(block)


def test_an_author_finds_all_that_options_of_that_kind_and_examples_of_pages_import() -> None:
    """What a file imports is in the lists of what it writes, for everybody, of hooks, or part of what is passed on."""
    lists, groups = audiences.audiences(), ALL_GROUPS.values()
    kinds = {start: group.name for group in groups for start in sorted(audiences.start_of(group))}
    files = [file for folder in ("plugins/framework_plugins", "contrib") for file in (ROOT / folder).rglob("*.py")]
    seen, lost = set[str](), []
    for place, code in [*((str(file.relative_to(ROOT)), tree(file)) for file in files), *of_pages()]:
        names = {name.partition(":")[2] for name in imported_names(code)} & {*audiences.owners()}
        own = {kinds[name] for name in written(code) if name in names and name in kinds}
        called = {kinds[name] for name in names if name in kinds}  # an exporter opens a `ModelSource` of the plan
        passed_on = {audiences.PASSED_ON.get(name, "") for kind in own for name in lists[kind]}
        found = audiences.everybody().union(
            *(lists[kind] for kind in {*own, *called, *passed_on, audiences.HOOKS} - {""})
        )
        seen |= own
        lost += [f"{place}, {', '.join(sorted(own))}: {name}" for name in names - found if own]
    # A trainer for groups of processes asks the launch of the plan, whose list has all that a group is made of.
    assert lost == ["plugins/framework_plugins/hf/model.py, trainer: Evaluation"]
    assert seen == {*ALL_GROUPS}  # of each kind there is a file


def test_a_public_module_names_what_it_offers_and_says_what_it_is() -> None:
    modules = {name: importlib.import_module(name) for name in audiences.MODULES}
    assert [name for name, module in modules.items() if not module.__doc__] == []
    assert [name for name, module in modules.items() if len({*module.__all__}) != len(module.__all__)] == []
    offered = [(f"{name}.{each}", getattr(module, each)) for name, module in modules.items() for each in module.__all__]
    ours = [(name, thing) for name, thing in offered if str(getattr(thing, "__module__", "")).startswith("framework")]
    told = [(name, thing) for name, thing in ours if callable(thing) and not name.rpartition(".")[2].isupper()]
    assert [name for name, thing in told if not thing.__doc__] == []


def imported(file: Path) -> Iterator[str]:
    yield from imported_names(tree(file))


def imported_names(code: ast.Module) -> Iterator[str]:
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}:{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (f"{alias.name}:" for alias in node.names)


@pytest.mark.parametrize("folder", ["plugins/framework_plugins", "contrib"])  # `framework_gpu_tests` tests inner parts
def test_plugins_import_public_names_alone(folder: str) -> None:
    public = {name: set(importlib.import_module(name).__all__) for name in audiences.MODULES}
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
