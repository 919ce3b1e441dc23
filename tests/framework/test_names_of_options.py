"""A method, a loss, an optimizer, a schedule or a sampler touches no line of the core and of `trainer=hf`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from framework.api.registry import plugins
from framework_plugins.hf.settings.optimizers import components as optimizers
from framework_plugins.hf.settings.schedules import components as schedules

ROOT = Path(__file__).parents[2]
HF = "plugins/framework_plugins/hf"
REGISTERED = {f"{HF}/plugin.py", f"{HF}/settings/optimizers.py", f"{HF}/settings/schedules.py"}
NAMED = {
    "framework/config/other_tools.py": "what to type in place of another tool's setting",
    "framework/config/translation.py": "where the data of another tool's config go",
    "framework/api/former_settings.py": "what runs had that were made before there were such options",
    f"{HF}/settings/reductions.py": "which optimizers to advise if memory is short",
}
ENGLISH = {"constant", "linear"}


def named(options: set[str]) -> Iterator[str]:
    """Give the files of the core and of hf in which a text is the name of an option."""
    for folder in ("framework", HF):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if options & {*re.findall(r'"(\w+)"', file.read_text(encoding="utf-8"))}:
                yield str(file.relative_to(ROOT))


def test_no_option_is_named_in_the_core_or_in_hf_but_where_it_is_registered() -> None:
    groups = ("method", "loss", "optimizer", "schedule", "sampler", "callback")
    options = {name for group in groups for name in plugins().components(group)} - ENGLISH
    assert {each.name for each in (*optimizers(), *schedules())} - ENGLISH < options
    assert {*named(options)} - REGISTERED == {*NAMED}


def test_no_setting_of_another_component_is_read_by_the_name_of_a_field() -> None:
    """Another plugin's class may lack it, and then a default counts: the base class has a method that says it."""
    read = re.compile(r"""getattr\(\s*[\w.]*(plan|choice|data|method)(\.\w+)*\.config,\s*["']""")
    folders = [ROOT / "framework", ROOT / "plugins" / "framework_plugins"]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert [str(file) for file in files if read.search(file.read_text("utf-8"))] == []


def test_the_examples_of_the_pages_are_files_of_at_most_forty_lines() -> None:
    pages = [ROOT / "docs" / "how-to" / f"{name}.md" for name in ("methods-and-losses", "change-a-training")]
    texts = [text for page in pages for text in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    assert len(texts) == 10
    assert [text for text in texts if len(text.splitlines()) > 40] == []
