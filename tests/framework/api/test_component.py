"""A component is described by its schema and imported when it is used."""

import re
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from framework import Component, FrameworkError


@dataclass
class Documented:
    """The first line.

    The rest.
    """


class Undocumented: ...


class Blank:
    __doc__ = "\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a package of one module `parts` with this source, and return the package's name."""

    def make(source: str) -> str:
        folder = tmp_path / f"acme_{uuid.uuid4().hex}"  # a process that has imported it remembers the name
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "parts.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return folder.name

    return make


def refusal(component: Component) -> str:
    with pytest.raises(FrameworkError) as caught:
        component.load()
    return str(caught.value)


@pytest.mark.parametrize(("schema", "summary"), [(Documented, "The first line."), (Undocumented, ""), (Blank, "")])
def test_the_summary_is_the_first_line_of_the_schemas_docstring(schema: type, summary: str) -> None:
    assert Component("name", schema, "collections:OrderedDict").summary == summary


def test_loading_imports_the_factory() -> None:
    assert Component("name", Documented, "collections:OrderedDict").load() is OrderedDict
    assert Component("name", Documented, "collections:OrderedDict.fromkeys").load() == OrderedDict.fromkeys


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("acme[anvil]", "'anvil' needs the library 'acme_missing': pip install 'acme[anvil]' (ModuleNotFoundError: "),
        ("", "'anvil' needs the library 'acme_missing' (ModuleNotFoundError: No module named 'acme_missing')"),
    ],
)
@pytest.mark.parametrize("source", ["", "import acme_missing.parts", "from acme_missing import parts"])
def test_a_missing_library_is_named_with_what_installs_it(
    package: Callable[[str], str], source: str, extra: str, text: str
) -> None:
    factory = f"{package(source)}.parts:Anvil" if source else "acme_missing.anvil:Anvil"
    assert refusal(Component("anvil", Documented, factory, extra=extra)).startswith(text)


def test_a_library_of_another_version_is_named(package: Callable[[str], str]) -> None:
    factory = f"{package('from collections import Anvil')}.parts:Anvil"
    message = refusal(Component("anvil", Documented, factory, extra="acme[anvil]"))
    assert message.startswith(
        "'anvil' needs the library 'collections': pip install 'acme[anvil]' (ImportError: cannot "
    )


@pytest.mark.parametrize(
    ("source", "attribute", "error"),
    [
        ("", "Anvil", r"AttributeError: module '.*' has no attribute 'Anvil' \(.*:\d+\)"),
        ("1 / 0", "Anvil", r"ZeroDivisionError: division by zero \(.*parts\.py:1\)"),
        ("\n)", "Anvil", r"SyntaxError: unmatched '\)' .*\(.*parts\.py:2\)"),
        ("from . import absent", "Anvil", r"ImportError: cannot import name 'absent' .*parts\.py:1\)"),
        ("from .absent import x", "Anvil", r"ModuleNotFoundError: No module named '.*\.absent' \(.*parts\.py:1\)"),
        ("import sys; sys.exit(3)", "Anvil", r"SystemExit: 3 \(.*parts\.py:1\)"),
        ("raise ImportError('no luck')", "Anvil", r"ImportError: no luck \(.*parts\.py:1\)"),
    ],
)
def test_a_broken_plugin_is_reported_with_its_place(
    package: Callable[[str], str], source: str, attribute: str, error: str
) -> None:
    factory = f"{package(source)}.parts:{attribute}"
    message = refusal(Component("anvil", Documented, factory, extra="acme[anvil]"))
    assert re.fullmatch(rf"'anvil' cannot be loaded from {factory}: {error}", message)


def test_memory_that_runs_out_is_not_blamed_on_the_plugin(package: Callable[[str], str]) -> None:
    factory = f"{package('raise MemoryError')}.parts:Anvil"
    assert refusal(Component("anvil", Documented, factory)).startswith("this process gets no more memory")
