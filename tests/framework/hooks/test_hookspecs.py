"""Every hook has a user in this repository and a heading in the documentation."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.api.component import ALL_GROUPS
from framework.hooks import hookspecs
from framework.hooks.session import current

HOOKS: dict[str, Callable[..., Any]] = {
    name: function for name, function in vars(hookspecs).items() if name.startswith("framework_")
}
ROOT = Path(__file__).parents[3]
DOCUMENTATION = ROOT / "docs" / "reference" / "hooks.md"


def signature(name: str) -> str:
    return f"{name}{inspect.signature(HOOKS[name])}".replace("'", "")  # annotations are strings


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_what_it_is_for(name: str) -> None:
    assert inspect.getdoc(HOOKS[name])


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_has_a_first_party_user(name: str) -> None:
    users = [
        implementation.plugin_name for implementation in getattr(current().plugins.manager.hook, name).get_hookimpls()
    ]
    assert set(users) - {"echo"}  # the testing kit does not count


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_heading_with_its_exact_signature(name: str) -> None:
    assert f"## `{signature(name)}`" in DOCUMENTATION.read_text(encoding="utf-8").splitlines()


def test_the_documentation_has_no_hook_that_does_not_exist() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    headings = {line.removeprefix("## `").partition("(")[0] for line in text.splitlines() if line.startswith("## `")}
    assert {name for name in headings if name.startswith("framework_")} == HOOKS.keys()


def test_the_documentation_lists_every_group_with_its_base_its_protocol_and_a_file_to_read() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    rows = re.findall(r"^- `[^`]+`, `(\w+Config)`, `(\w+)`, (.*?): ", text, re.MULTILINE)
    assert [(base, protocol) for base, protocol, _ in rows] == [
        (group.base.__name__, group.product.__name__) for group in ALL_GROUPS.values()
    ]
    named = [name for *_, files in rows for name in re.findall(r"`([^`]+)`", files)]
    assert len(named) >= len(rows)
    roots = [ROOT / "plugins/framework_plugins", ROOT / "framework"]
    assert [name for name in named if not any((root / name).is_file() for root in roots)] == []
