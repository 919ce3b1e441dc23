"""`python -m framework plugins [GROUP [OPTION]] [--json|--yaml]`: what can be chosen, and what is not installed.

Experiments are listed as a group, `plugins experiment [NAME]`, and by the command `experiments`.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from framework.api.component import ALL_GROUPS, COMMANDS, SPEAKERS, UNCONFIGURED, Group
from framework.api.selection import as_plain
from framework.api.text import as_overrides, as_text
from framework.cli.commands import ExperimentsCommandConfig, PluginsCommandConfig
from framework.config.catalog import (
    Experiment,
    Option,
    Preset,
    Setting,
    experiment_settings,
    experiments,
    options,
    preset_settings,
    presets,
    settings,
)
from framework.config.compose import EXPERIMENT, config_loader
from framework.hooks.manager import disabled
from framework.hooks.session import current
from framework.plan.load import composed
from framework.util.command import CommandParser, this_program
from framework.util.errors import DISABLE, FrameworkError, unknown

END_OF_YAML = "...\n"
"""What PyYAML writes after a single value."""
WIDEST = 120  # columns: longer lines are hard to read
MARGIN = 2
Choices = tuple[Mapping[str, Option], Mapping[str, Preset]]
Row = tuple[Text, ...]


class PluginsCommand:
    """Lists every option of every group, those of one group, or the settings of one option."""

    def __init__(self, config: PluginsCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print the list, or with `--json` the same as JSON."""
        parser = CommandParser("plugins", PluginsCommandConfig.__doc__)
        parser.add_argument(
            "group", nargs="?", metavar="GROUP", help="show only the options of this group, such as trainer"
        )
        parser.add_argument(
            "option", nargs="?", metavar="OPTION", help="show the settings of this option or preset of the group"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON")
        form.add_argument("--yaml", action="store_true", help="print a preset of the option as a file to copy")
        parsed = parser.read(arguments)
        if parsed.group and parsed.group not in (*ALL_GROUPS, EXPERIMENT):
            raise FrameworkError(unknown("group", parsed.group, [*ALL_GROUPS, EXPERIMENT]))
        chosen = [group for group in ALL_GROUPS.values() if parsed.group in (None, group.name)]
        with config_loader() as loader:
            groups = {group.name: (options(group), presets(group, loader)) for group in chosen}
            experiment_by_name = experiments(loader) if parsed.group in (None, EXPERIMENT) else {}
        if parsed.option is None:
            shown: Overview | Detail | ExperimentDetail = Overview(groups, experiment_by_name)
        elif parsed.group == EXPERIMENT:
            shown = ExperimentDetail(parsed.option, experiment_by_name)
        else:
            shown = Detail(chosen[0], parsed.option, groups[chosen[0].name])
        if parsed.yaml:
            if not isinstance(shown, Detail) or shown.group.name in UNCONFIGURED:
                parser.error("--yaml writes a preset of one option: plugins trainer hf --yaml")
            print(shown.yaml(), end="")
        elif parsed.json:
            print(json.dumps(shown.plain(), indent=1, ensure_ascii=False))
        else:
            console = Console(highlight=False, emoji=False, markup=False)
            console.width = min(console.width, WIDEST)
            shown.show(console)
        return 0


class ExperimentsCommand:
    """Does what `plugins experiment` does, under the name that one looks for."""

    def __init__(self, config: ExperimentsCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print the experiments or one of them, or with `--json` the same as JSON."""
        parser = CommandParser("experiments", ExperimentsCommandConfig.__doc__)
        parser.add_argument("name", nargs="?", metavar="NAME", help="describe this experiment")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsed = parser.read(arguments)
        name, form = [parsed.name] if parsed.name else [], ["--json"] if parsed.json else []
        return PluginsCommand(PluginsCommandConfig()).main([EXPERIMENT, *name, *form])


class Overview:
    """The options and presets of groups, the experiments, and what is not used."""

    def __init__(self, groups: Mapping[str, Choices], experiment_by_name: Mapping[str, Experiment]) -> None:
        self.groups = groups
        self.experiments = experiment_by_name

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "groups": {
                name: {
                    "several": ALL_GROUPS[name].several,
                    "options": {option.component.name: option.plain for option in option_by_name.values()},
                    "presets": {preset.name: preset.plain for preset in preset_by_name.values()},
                }
                for name, (option_by_name, preset_by_name) in self.groups.items()
            },
            "experiments": {name: experiment.plain for name, experiment in self.experiments.items()},
            "skipped": [vars(part) for part in current().plugins.skipped_plugins()],
            "disabled": sorted(disabled()),
        }

    def show(self, console: Console) -> None:
        """Print a block for each group with a row for each option: its name, what it is, where it comes from."""
        blocks = {name: list(_rows(*choices)) for name, choices in self.groups.items()}
        if self.experiments:
            blocks[EXPERIMENT] = [
                (Text(name), Text(experiment.summary), Text("")) for name, experiment in self.experiments.items()
            ]
        every = [row for rows in blocks.values() for row in rows]
        name_width, origin_width = (max((len(row[column]) for row in every), default=0) for column in (0, 2))
        origin_width = min(origin_width, console.width // 4)
        widths = (name_width, max(console.width - MARGIN - name_width - 2 * MARGIN - origin_width, 1), origin_width)
        for index, (name, rows) in enumerate(blocks.items()):
            gap = "\n" if index else ""
            how, summary = ("+experiment=…", "Choices and values for a task.")
            if name in ALL_GROUPS:
                how, summary = (
                    _choice_text(ALL_GROUPS[name], "…"),
                    f"{(ALL_GROUPS[name].base.__doc__ or '').strip().partition('. ')[0].rstrip('.')}.",
                )
            console.print(Text.assemble(gap, (how, "bold"), "  ", summary))
            _print_columns(console, widths, rows)
        lines = [
            line
            for group, (option_by_name, _) in self.groups.items()
            for line in _installs(ALL_GROUPS[group], option_by_name)
        ]
        _print_section(console, "To install what is missing", lines)
        broken = [
            f"{part.plugin} ({part.package}), {part.what}: {part.reason}"
            for part in current().plugins.skipped_plugins()
        ]
        _print_section(console, "Skipped because broken", broken)
        _print_section(console, f"Switched off by {DISABLE}", list(_switched_off()))


class Detail:
    """The settings of one option or preset."""

    def __init__(self, group: Group, name: str, choices: Choices) -> None:
        option_by_name, preset_by_name = choices
        if name not in {*option_by_name, *preset_by_name}:
            raise FrameworkError(unknown(group.name, name, [*option_by_name, *preset_by_name]))
        self.group, self.name = group, name
        self.about: Option | Preset = option_by_name[name] if name in option_by_name else preset_by_name[name]
        if isinstance(self.about, Option):
            self.settings = list(settings(self.about.component.schema))
        else:
            config = composed([f"{group.name}=[{name}]" if group.several else f"{group.name}={name}"])
            self.settings = list(preset_settings(group, config))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        listed = [setting.plain for setting in self.settings]
        return {"group": self.group.name, "name": self.name, **self.about.plain, "settings": listed}

    def yaml(self) -> str:
        """Return a preset to copy: what differs from the option's defaults is set, the rest is commented out."""
        return "\n".join(_preset_lines(self.group, self.name, self.about, self.settings)) + "\n"

    def show(self, console: Console) -> None:
        """Print what it is, and a row for each setting: its name, valid values, default and meaning."""
        console.print(Text(_choice_text(self.group, self.name), "bold"))
        for line in _about(self.about):
            console.print(Padding(Text(line), (0, 0, 0, MARGIN)))
        if isinstance(self.about, Option):
            _print_section(console, "", list(_installs(self.group, {self.name: self.about})))
        if not self.settings:
            return
        several = self.group.several and isinstance(self.about, Option)
        prefix = f"{self.group.name}.{self.name}" if several else self.group.name
        console.print(f"\nSettings, changed with {prefix}.NAME=VALUE:")
        name_width = min(max(len(setting.name) for setting in self.settings), console.width // 2)
        _print_columns(
            console, (name_width, console.width - 2 * MARGIN - name_width), [*map(_setting_row, self.settings)]
        )


class ExperimentDetail:
    """What one experiment chooses and sets."""

    def __init__(self, name: str, experiment_by_name: Mapping[str, Experiment]) -> None:
        if name not in experiment_by_name:
            raise FrameworkError(unknown(EXPERIMENT, name, experiment_by_name))
        self.experiment = experiment_by_name[name]
        with config_loader() as loader:
            self.choices, self.values = experiment_settings(loader, name)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        contents = {"choices": self.choices, "settings": as_plain(self.values)}
        return {"name": self.experiment.name, **self.experiment.plain, **contents}

    def show(self, console: Console) -> None:
        """Print what it is for, how it is started, and what it chooses and sets."""
        about = self.experiment
        console.print(Text(f"+{EXPERIMENT}={about.name}", "bold"))
        for line in (about.summary, f"An experiment: {about.file}"):
            console.print(Padding(Text(line), (0, 0, 0, MARGIN)))
        _print_section(console, "Start it", [f"{this_program()} +{EXPERIMENT}={about.name}"])
        _print_section(console, "It chooses", [f"{group}={option}" for group, option in self.choices.items()])
        _print_section(console, "It sets", as_overrides(as_plain(self.values)))


def _choice_text(group: Group, option: str) -> str:
    """Write how an option is chosen."""
    if group is COMMANDS:
        return f"python -m framework {option}"
    if group is SPEAKERS:
        return f"python -m framework chat RUN_DIR --{option}"
    return f"{group.name}=[{option}]" if group.several else f"{group.name}={option}"


def _rows(option_by_name: Mapping[str, Option], preset_by_name: Mapping[str, Preset]) -> Iterator[Row]:
    for name, option in option_by_name.items():
        lacks = (f"\nnot installed: {', '.join(option.missing)}", "yellow") if option.missing else ""
        yield Text(name), Text.assemble(option.component.summary, lacks), Text(option.package)
    for name, preset in preset_by_name.items():
        origin = f"on {', '.join(preset.options)}" if preset.options else preset.file
        yield Text(name), Text(preset.summary), Text(origin)


def _setting_row(setting: Setting) -> Row:
    default = "has to be set" if setting.required else f"default {as_text(setting.value)}"
    return Text(setting.name), Text.assemble((f"{setting.field.valid}; {default}\n", "dim"), setting.field.doc)


def _about(about: Option | Preset) -> Iterator[str]:
    if isinstance(about, Preset):
        yield about.summary
        yield f"A preset of {', '.join(about.options) or 'no option'}: {about.file}"
        return
    yield from about.doc.splitlines()
    yield f"From {about.package}, plugin '{about.plugin}': {about.component.factory}"
    if about.component.extras:
        state = f"not installed: {', '.join(about.missing)}" if about.missing else "all installed"
        yield f"Needs {' and '.join(about.component.extras)}; {state}"


def _preset_lines(group: Group, name: str, about: Option | Preset, shown_settings: Sequence[Setting]) -> Iterator[str]:
    """Yield the lines of a preset. The settings of a preset have names that begin with the key of its option."""
    base = name if isinstance(about, Option) else about.options[0] if about.options else name
    option = options(group)[base].component
    defaults = {setting.name: setting.value for setting in settings(option.schema)}
    if group.several:
        yield f"# @package {group.name}.{base}"
    file = f"conf/{group.name}/mine.yaml"
    choice = f"{group.name}=[mine]" if group.several else f"{group.name}=mine"
    yield f"# A preset of {group.name}={base}: save it as {file} and choose it with {choice}."
    yield "# A setting that is commented out has its default; remove the # before those that you change."
    yield "defaults:"
    yield f"  - {base}@_here_" if group.several else f"  - {base}"
    prefix = f"{base}." if group.several and isinstance(about, Preset) else ""
    above: list[str] = []
    for setting in shown_settings:
        kind = setting.field.type
        if "[]" in setting.name or (kind.items is None and dataclasses.is_dataclass(kind.base)):
            continue  # what is below it is listed itself
        *parents, leaf = setting.name.removeprefix(prefix).split(".")
        sets = setting.required or setting.value != defaults.get(".".join([*parents, leaf]))
        mark = "" if sets else "#"
        yield ""
        for depth, parent in enumerate(parents):
            if parents[: depth + 1] != above[: depth + 1]:
                yield f"{mark}{'  ' * depth}{parent}:"
        above = parents
        indent = "  " * len(parents)
        for line in textwrap.wrap(f"{setting.field.doc} ({setting.field.valid})", WIDEST - 2 - len(indent)):
            yield f"{indent if sets else ''}# {line}"
        value = "???" if setting.required else yaml.safe_dump(setting.value, default_flow_style=True, width=WIDEST * 9)
        yield f"{mark}{indent}{leaf}: {value.removesuffix(END_OF_YAML).strip()}"


def _installs(group: Group, option_by_name: Mapping[str, Option]) -> Iterator[str]:
    for name, option in option_by_name.items():
        if option.install:
            yield f"{_choice_text(group, name)}: {option.install}"


def _switched_off() -> Iterator[str]:
    installed = entry_points(group="framework").names
    for name in sorted(disabled()):
        yield name if name in installed else f"{name} (there is no plugin of that name)"


def _print_columns(console: Console, widths: Sequence[int], rows: Sequence[Row]) -> None:
    table = Table.grid(padding=(0, MARGIN, 0, 0), pad_edge=False)
    for width in widths:
        table.add_column(width=width, overflow="fold", style="" if table.columns else "cyan")
    for row in rows:
        table.add_row(*row)
    console.print(Padding(table, (0, 0, 0, MARGIN)))


def _print_section(console: Console, heading: str, lines: Sequence[str]) -> None:
    """Print lines that are not broken, so that a command in them can be copied."""
    if heading and lines:
        console.print(Text(f"\n{heading}", "bold"))
    for line in lines:
        console.print(f"{' ' * MARGIN}{line}", soft_wrap=True)
