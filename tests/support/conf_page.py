"""Writes conf/README.md: every group with its options and presets, and the experiments, a line each.

python -m tests.support.conf_page
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from framework.api.component import GROUPS
from framework.config.catalog import experiments, options, presets
from framework.config.compose import conf_dir, config_loader
from framework.config.reference import BAR, distribution, escape

FILE = conf_dir() / "README.md"
PACKAGE = "framework-finetune"
HEAD = """\
# What can be chosen

Written by `python -m tests.support.conf_page`; make changes in the source.

An option is code, with the settings that [the reference](../docs/reference/config.md) lists. A preset is a file that
builds on an option. `group=name` chooses one, `group=[name,name]` several if a run may have several. `python -m
framework plugins GROUP NAME` shows its settings with their values; with `--yaml` it prints a preset to copy. Put your
own presets into `conf/GROUP/` of your working folder, and experiments into `conf/experiment/`.

This page lists the presets of this folder; the presets of plugins are in their packages.
"""


def page() -> str:
    """Return the text of the page."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    with config_loader() as loader:
        yield "## `+experiment=…`\n"
        yield "Choices and values for a task.\n"
        yield from _table(
            (name, preset.summary) for name, preset in experiments(loader).items() if _is_here(preset.file)
        )
        for group in GROUPS.values():
            our_options = {name: option for name, option in options(group).items() if distribution(option) == PACKAGE}
            our_presets = {name: preset for name, preset in presets(group, loader).items() if _is_here(preset.file)}
            choice = f"{group.name}=[…]" if group.several else f"{group.name}=…"
            about = (group.base.__doc__ or "").strip().partition("\n\n")[0]
            yield f"## `{choice}`\n"
            yield f"{escape(' '.join(about.split()))}\n"
            rows = [(name, option.component.summary) for name, option in our_options.items()]
            rows += [
                (name, f"{preset.summary} (on {', '.join(preset.options)})") for name, preset in our_presets.items()
            ]
            yield from _table(rows)


def _is_here(file: str) -> bool:
    """Whether a file is one of this repository, not of a plugin that happens to be installed."""
    path = Path(file).resolve()
    return any(path.is_relative_to(folder) for folder in (conf_dir(), conf_dir().parent / "plugins"))


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "| name | what it is |\n|---|---|"
    for name, text in rows:
        yield f"| `{name}` | {escape(' '.join(text.split())).replace('|', BAR)} |"
    yield ""


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8", newline="\n")
