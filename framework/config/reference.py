"""The generated reference: every option and every setting as Markdown, and JSON Schemas for editors.

python -m framework reference FOLDER [--package NAME]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import annotated_types

from framework.api.component import GROUPS, Group
from framework.api.fields import NAMES, Type, as_text
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

`group=option` chooses an option, `group=[option,…]` several if a run may have several. `group.setting=value` changes a
setting, `group.option.setting=value` in a group with several options. An entry is the setting with its default, then
the type and its range if a value is not true, false or any text. `python -m framework plugins GROUP OPTION` also shows
presets and the options of other packages.

`schemas/` has a JSON Schema for the presets of each group, and [experiment.json](schemas/experiment.json) for
experiments; `python -m framework reference FOLDER` writes them for the plugins that you have installed. An editor with
the [YAML language server](https://github.com/redhat-developer/yaml-language-server) checks a file that names one:

```yaml
# yaml-language-server: $schema=schemas/trainer.json
defaults:
  - hf

max_steps: 100
```
"""
BAR = r"\|"  # does not end a cell
PLAIN = ("str", "bool")  # the default shows these
SHORT, LONG = 20, 100  # signs
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
    blocks = [HEAD.replace("{command}", command), "## The run\n", _list(run_settings)]
    first: dict[str, tuple[str, Setting]] = {}
    choices: dict[str, str] = {}
    for name, group_options in options_by_group.items():
        if group_options:
            blocks += _group(GROUPS[name], group_options, first, choices, with_package=package is None)
    return "\n".join(blocks)


def _group(
    group: Group, group_options: Mapping[str, Option], first: dict[str, tuple[str, Setting]],
    choices: dict[str, str], *, with_package: bool,
) -> Iterator[str]:  # fmt: skip
    """Give the section of a group.

    `first` is where each setting was explained, by its text, and `choices` the same for an option of two groups.
    """
    shared = {setting.name: setting for setting in settings(group.base)}
    yield f"## `{group.name}={'[…]' if group.several else '…'}`\n"
    yield f"{escape(_line(group.base.__doc__))}\n"
    if shared:
        yield "Every option has\n"
        yield _list(shared.values())
    repeated: list[str] = []
    for name, option in group_options.items():
        choice = f"{group.name}={f'[{name}]' if group.several else name}"
        if choices.setdefault(option.component.factory, group.name) != group.name:
            repeated.append(f"`{name}`")
            continue
        yield f"### `{choice}`\n"
        needs = " and ".join(f"`{extra}`" for extra in option.component.extras)
        notes = [f"From {distribution(option)}."] * with_package + [f"Needs {needs}."] * bool(needs)
        yield f"{' '.join([escape(_line(option.doc)), *notes])}\n"
        own_settings: list[Setting] = []
        names_by_text: dict[str, list[str]] = {}
        for setting in settings(option.component.schema):
            if _same(setting, shared):
                continue
            place, other = first.setdefault(f"{setting.plain}", (choice, setting))
            if place == choice or len(other.field.doc) < SHORT:  # as long as a reference to it
                own_settings.append(setting)
            else:
                names_by_text.setdefault(place, []).append(f"`{setting.name}`")
        if own_settings:
            yield _list(own_settings)
        for place, names in names_by_text.items():
            yield f"As `{place}`: {_joined(names)}.\n"
    if repeated:
        yield f"### As options of another group above\n\n{_joined(repeated)}.\n"


def _same(setting: Setting, shared: Mapping[str, Setting]) -> bool:
    """Whether a setting is the base's own, its default and its meaning included."""
    base_setting = shared.get(setting.name)
    return base_setting is not None and setting.plain == base_setting.plain


def _list(rows: Iterable[Setting]) -> str:
    lines: list[str] = []
    kinds: dict[str, str] = {}  # long lists of choices are written once
    for setting in rows:
        value = "" if setting.required else f"={as_text(setting.value)}"
        kind = _kind(setting.field.type, null=setting.value is None)
        if len(kind) > LONG:
            earlier = kinds.get(kind)
            kinds.setdefault(kind, f"as `{setting.name}`")
            kind = earlier or kind
        notes = [*(["required"] if setting.required else []), *([] if kind in PLAIN else [escape(kind)])]
        doc = _line(escape(setting.field.doc))
        lines.append(f"- `{setting.name}{value}`{f' ({_joined(notes)})' if notes else ''}: {doc}")
    return "\n".join(lines) + "\n"


def _kind(type_: Type, *, null: bool = False) -> str:
    """Return a type and its range in few signs: `int ≥1`, `list[a|b]`; `null` leaves out that null is valid."""
    kind = str("|".join(type_.choices) or NAMES.get(type_.base) or getattr(type_.base, "__name__", "any"))
    if type_.items:
        kind = f"{kind}[{_kind(type_.items)}]"
    kind = "|".join(
        [kind, *([str(type_.word)] if type_.word else []), *(["null"] if type_.optional and not null else [])]
    )
    return "".join([kind, *(f" {_bound(bound)}" for bound in type_.bounds)]).rstrip()


def _bound(bound: object) -> str:
    match bound:
        case annotated_types.Gt(value):
            return f">{value}"
        case annotated_types.Ge(value):
            return f"≥{value}"
        case annotated_types.Lt(value):
            return f"<{value}"
        case annotated_types.Le(value):
            return f"≤{value}"
        case annotated_types.MultipleOf(value):
            return f"in steps of {value}"
    return ""


def escape(text: str) -> str:
    """Keep what is in angle brackets from being taken for HTML; code, between backticks, stays as it is."""
    parts = text.split("`")
    return "`".join(part if index % 2 else part.replace("<", r"\<") for index, part in enumerate(parts))


def _joined(words: Iterable[str]) -> str:
    return ", ".join(words)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
