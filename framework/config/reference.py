"""The generated reference: every option and every setting as Markdown, and JSON Schemas for editors.

python -m framework reference FOLDER [--package NAME]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from framework.api.component import GROUPS, Group
from framework.api.fields import as_text
from framework.api.schema import RunConfig
from framework.config import json_schema
from framework.config.catalog import Option, Setting, options, settings
from framework.config.compose import EXPERIMENT
from framework.util.errors import FrameworkError, unknown

PAGE = "config.md"
SCHEMAS = "schemas"
HEAD = """\
# Settings

Written by `{command}`; make changes in the source.

Each group has options, chosen with `group=option`, or `group=[option,…]` if a run may have several. A setting is
changed with `group.setting=value`, or with `group.option.setting=value` in a group with several options. `python -m
framework plugins` also shows the presets, and the options of other installed packages.

An editor that knows the [YAML language server](https://github.com/redhat-developer/yaml-language-server) completes and
checks a YAML file that names its schema in a comment, by a path relative to the file:

```yaml
# yaml-language-server: $schema=schemas/trainer.json
defaults:
  - hf

max_steps: 100
```

`schemas/` has a schema for presets of each group, and [experiment.json](schemas/experiment.json) for experiments.
`python -m framework reference FOLDER` writes them for the plugins that you have installed.
"""
BAR = r"\|"  # does not end a cell
COLUMNS = ("setting", "type", "valid", "default", "meaning")
OptionsByGroup = Mapping[str, Mapping[str, Option]]


def generate(package: str | None = None) -> dict[str, str]:
    """Return the text of each file of the reference; with `package` only the options of that distribution.

    Raises:
        FrameworkError: no option comes from `package`.
    """
    every = {group.name: options(group) for group in GROUPS.values()}
    options_by_group = {
        group: {name: option for name, option in options_of.items() if package in (None, distribution(option))}
        for group, options_of in every.items()
    }
    if package is not None and not any(options_by_group.values()):
        packages = {distribution(option) for options_of in every.values() for option in options_of.values()}
        raise FrameworkError(unknown("package", package, packages))
    types = {
        group: {name: option.component.schema for name, option in options_of.items()}
        for group, options_of in options_by_group.items()
    }
    schemas = {
        group: json_schema.preset(GROUPS[group], options_of) for group, options_of in types.items() if options_of
    }
    schemas[EXPERIMENT] = json_schema.experiment(types)
    return {
        PAGE: page(options_by_group, package),
        **{
            f"{SCHEMAS}/{name}.json": f"{json.dumps(schema, indent=1, ensure_ascii=False)}\n"
            for name, schema in schemas.items()
        },
    }


def distribution(option: Option) -> str:
    """Return the name of the distribution that an option comes from, without the version."""
    return option.package.partition(" ")[0]


def write(folder: Path, package: str | None = None) -> list[Path]:
    """Write the reference and return the files."""
    files = {folder / name: text for name, text in generate(package).items()}
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    return list(files)


def page(options_by_group: OptionsByGroup, package: str | None) -> str:
    """Return the Markdown page."""
    command = f"python -m framework reference FOLDER{f' --package {package}' if package else ''}"
    run_settings = [setting for setting in settings(RunConfig) if re.split(r"\W", setting.name)[0] not in GROUPS]
    blocks = [HEAD.replace("{command}", command), "## The run\n", _table(run_settings)]
    for name, group_options in options_by_group.items():
        if group_options:
            blocks += _group(GROUPS[name], group_options)
    return "\n".join(blocks)


def _group(group: Group, group_options: Mapping[str, Option]) -> Iterator[str]:
    shared = {setting.name: setting for setting in settings(group.base)}
    choice = f"{group.name}=[…]" if group.several else f"{group.name}=…"
    yield f"## `{choice}`\n"
    yield f"{escape(_line(group.base.__doc__))} For presets: [{group.name}.json]({SCHEMAS}/{group.name}.json).\n"
    if shared:
        yield "Every option has\n"
        yield _table(shared.values())
    for name, option in group_options.items():
        yield f"### `{group.name}={f'[{name}]' if group.several else name}`\n"
        yield f"{escape(_line(option.doc))}\n"
        needs = " and ".join(f"`{extra}`" for extra in option.component.extras)
        yield f"From the plugin `{option.plugin}` of {distribution(option)}{f'; needs {needs}' if needs else ''}.\n"
        own_settings = [setting for setting in settings(option.component.schema) if not _same(setting, shared)]
        if own_settings:
            yield _table(own_settings)


def _same(setting: Setting, shared: Mapping[str, Setting]) -> bool:
    """Whether a setting is the base's own, its default and its meaning included."""
    base_setting = shared.get(setting.name)
    return base_setting is not None and setting.plain == base_setting.plain


def _table(rows: Iterable[Setting]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for setting in rows:
        field = setting.field
        default = "has to be set" if setting.required else f"`{as_text(setting.value)}`"
        cells = (f"`{setting.name}`", f"`{field.type.name}`", field.valid, default, escape(field.doc))
        lines.append(f"| {' | '.join(_line(cell).replace('|', BAR) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Keep what is in angle brackets from being taken for HTML; code, between backticks, stays as it is."""
    parts = text.split("`")
    return "`".join(part if index % 2 else part.replace("<", r"\<") for index, part in enumerate(parts))


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
