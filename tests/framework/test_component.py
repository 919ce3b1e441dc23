"""A component is described by its schema and imported when it is used."""

from collections import OrderedDict
from dataclasses import dataclass

import pytest

from framework import Component, FrameworkError


@dataclass
class Documented:
    """The first line.

    The rest.
    """


class Undocumented: ...


@pytest.mark.parametrize(("schema", "summary"), [(Documented, "The first line."), (Undocumented, "")])
def test_the_summary_is_the_first_line_of_the_schemas_docstring(schema: type, summary: str) -> None:
    assert Component("name", schema, "collections:OrderedDict").summary == summary


def test_loading_imports_the_factory() -> None:
    assert Component("name", Documented, "collections:OrderedDict").load() is OrderedDict


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("framework[acme]", "'anvil' needs the library 'acme_missing': pip install 'framework[acme]' (Module"),
        ("", "'anvil' needs the library 'acme_missing' (ModuleNotFoundError: No module named 'acme_missing')"),
    ],
)
def test_a_missing_library_is_named_with_what_installs_it(extra: str, text: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        Component("anvil", Documented, "acme_missing.anvil:Anvil", extra=extra).load()
    assert text in str(caught.value)
