"""Every hook has a user in this repository, and every group a line in the documentation."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.api.component import ALL_GROUPS
from framework.hooks import hookspecs
from framework.hooks.session import current

HOOKS: dict[str, Callable[..., Any]] = {
    name: function for name, function in vars(hookspecs).items() if name.startswith("framework_")
}
ROOT = Path(__file__).parents[3]
DOCUMENTATION = ROOT / "docs" / "reference" / "hooks.md"


def test_every_hook_says_what_it_is_for_and_has_a_first_party_user() -> None:
    assert [name for name, function in HOOKS.items() if not inspect.getdoc(function)] == []
    manager = current().plugins.manager
    users = {name: {each.plugin_name for each in getattr(manager.hook, name).get_hookimpls()} for name in HOOKS}
    assert [name for name, plugins in users.items() if not plugins - {"echo"}] == []  # the testing kit does not count


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
