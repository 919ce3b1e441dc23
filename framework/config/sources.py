"""Where each value of a config was set: a line of a YAML file, or an argument of the command line.

Hydra merges what it reads and forgets where that came from. For an error message the config is read once more, file by
file in Hydra's own order, with the lines kept.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.defaults_list import DefaultsList
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import GroupDefault, InputDefault, ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, OverrideParseException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from framework.api.component import GROUPS
from framework.api.fields import as_text
from framework.api.problem import Problem
from framework.api.text import count, visible
from framework.config.compose import COMPONENT, CONFIG_NAME, EXPERIMENT, config_loader
from framework.hooks.session import current
from framework.util.errors import FrameworkError, display_path, foreign_letter

REFUSALS = (
    HydraException,
    OmegaConfBaseException,
    YAMLError,
    ValueError,
    AssertionError,
    RecursionError,
    TypeError,
    AttributeError,
)
"""What Hydra raises if it cannot compose; the last two for a value of a type that it does not expect."""
SHOWN_PROBLEMS = 20
"""Problems that are reported; of more their number is."""
STRUCTURED = ("structured:", f"{COMPONENT}:")
"""How the place of a config begins that is a dataclass, not a file."""
SPECIAL = re.compile(r'["\\$`]')
"""What a shell reads inside double quotes."""


@dataclass(frozen=True)
class SourcedValue:
    """One value that was set: the dotted `key`, the `value` as plain data, and `where`.

    `fault` says what is wrong with the way it is written. `preset` is the group of the file that it is in, if
    that is a preset. `of_user` says that the file is one of the user's, not of an installed package.
    """

    key: str
    value: Any
    where: str
    fault: str = ""
    preset: str = ""
    of_user: bool = False


@dataclass
class ValueSources:
    """What was set, in the order in which it is merged.

    Attributes:
        settings: every value, those of files before those of the command line.
        choices: for a group, or the package of one of its options, the place that chose last.
        schemas: what was loaded last of a dataclass below a package: `adapter`, `metric.exact_match`, `hydra.sweeper`.
    """

    settings: list[SourcedValue] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, DictConfig] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """Return the place that set `key` last, or chose the option that it names; empty for a default."""
        if key in self.choices:
            return self.choices[key]
        # A value set at the key or above it, as in `trainer={lr: 1}`, else below it, else what chose the option.
        at_or_above = (
            setting.where
            for setting in self._by_precedence
            if f"{key}.".startswith((f"{setting.key}.", f"{setting.key}["))
        )
        below = (setting.where for setting in self._by_precedence if setting.key.startswith(f"{key}."))
        group, _, option = key.partition(".")
        is_option = group in GROUPS and GROUPS[group].several and option and "." not in option
        chosen = self.choices.get(group, "") if is_option else ""
        return next(at_or_above, next(below, chosen))

    @property
    def _by_precedence(self) -> list[SourcedValue]:
        """The settings from the one that wins to the one that is merged first."""
        return [*reversed(self.settings)]

    def of_user(self, key: str) -> bool:
        """Whether a file of the user set a key; a key that nothing is known to set may be one of these."""
        matches = (
            candidate
            for candidate in self._by_precedence
            if f"{key}.".startswith(f"{candidate.key}.") or candidate.key.startswith(f"{key}.")
        )
        setting = next(matches, None)
        return setting is None or setting.of_user


# Hydra forgets where a value came from, so the files are read a second time, in its order.
def value_sources(loader: ConfigLoader, defaults: Sequence[ResultDefault], words: Sequence[str]) -> ValueSources:
    """Read what a defaults list and the arguments of a command line set."""
    sources = ValueSources()
    for default in defaults:
        package = default.package or ""
        loaded = loader.repository.load_config(default.config_path) if default.config_path else None
        if loaded is not None and loaded.path.startswith(STRUCTURED):
            sources.schemas[package] = loaded.config
        elif loaded is not None and default.config_path and loaded.provider != "hydra":  # its own set what no run sets
            for chosen, where in _entries(loaded, default.config_path):
                if isinstance(chosen, GroupDefault):
                    sources.choices[str(chosen.group).lstrip("/")] = where
            read = _file_values(loaded.path, default.config_path, package, loaded.config)
            settings = [dataclasses.replace(setting, of_user=loaded.provider == "user") for setting in read]
            unused = current().unused if default.config_path.startswith(f"{EXPERIMENT}/") else ()
            sources.settings += [
                setting for setting in settings if not f"{setting.key}.".startswith(tuple(f"{key}." for key in unused))
            ]
    # Last, as Hydra merges them last: `where` takes the latest.
    for override in OverridesParser.create(loader).parse_overrides(list(words)):
        key, word = override.key_or_group, str(override.input_line)
        # The one has no single value, the other none.
        if override.is_sweep_override() or override.is_delete():
            continue
        if loader.repository.group_exists(key) and not isinstance(override.value(), dict):
            sources.choices[override.package or key] = word
        else:
            sources.settings.append(SourcedValue(key, override.value(), word))
    return sources


def _file_values(folder: str, config_path: str, package: str, config: DictConfig) -> Iterator[SourcedValue]:
    """Give the values that a YAML file sets, with their lines."""
    text, name = _source(folder, config_path)
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(tree, yaml.MappingNode):
        plain: Any = OmegaConf.to_container(config, resolve=False)
        preset = config_path.partition("/")[0]
        for key, value in _pairs(tree):
            if key.value != "defaults":
                for setting in _leaves(package, key, value, plain, name):
                    yield dataclasses.replace(setting, preset=preset if preset in GROUPS else "")
    elif tree is not None:  # it holds more than comments
        fault = "a config file has to hold keys and values; this one holds a list or a text"
        yield SourcedValue("", None, f"{name}:{tree.start_mark.line + 1}", fault)


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the entries of a mapping, those of merge keys (`<<: *base`) among them."""
    # PyYAML resolves `<<` only when it constructs values, and then the lines are gone.
    yaml.SafeLoader("").flatten_mapping(node)
    return [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def _leaves(
    path: str, key: yaml.ScalarNode, node: yaml.Node, values: dict[Any, Any], name: str
) -> Iterator[SourcedValue]:
    """Give the values below an entry of a YAML file with their lines."""
    # PyYAML counts lines from 0.
    where = f"{name}:{key.start_mark.line + 1}"
    below = f"{path}.{key.value}" if path else str(key.value)
    value = values.get(key.value)
    if "." in key.value:
        prefix = key.value.partition(".")[0]
        fault = f"'{key.value}' is one key with a dot in it: write '{prefix}:', and the rest indented below it"
        yield SourcedValue(below, value, where, fault)
    elif isinstance(node, yaml.MappingNode) and node.value and isinstance(value, dict):
        for inner, part in _pairs(node):
            yield from _leaves(below, inner, part, value, name)
    else:
        yield SourcedValue(below, value, where)


def entries(loader: ConfigLoader, config_path: str) -> Iterator[tuple[InputDefault, str]]:
    """Give the entries of a file's defaults list as Hydra reads them, each with its place."""
    loaded = loader.repository.load_config(config_path)
    if loaded is not None and not loaded.path.startswith(STRUCTURED):
        yield from _entries(loaded, config_path)


def _entries(loaded: ConfigResult, config_path: str) -> Iterator[tuple[InputDefault, str]]:
    text, name = _source(loaded.path, config_path)
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    top = _pairs(tree) if isinstance(tree, yaml.MappingNode) else []
    nodes = [item for key, value in top if key.value == "defaults" for item in value.value]
    # Hydra's entries know no line, and PyYAML's nodes know nothing of groups; both have the order of the file.
    for entry, node in zip(loaded.defaults_list or [], nodes, strict=True):
        yield entry, f"{name}:{node.start_mark.line + 1}"


def _source(folder: str, config_path: str) -> tuple[str, str]:
    """Return the text of a file of the search path, and its name as a user would type it."""
    scheme, _, root = folder.partition("://")
    if scheme == "pkg":
        module, _, below = root.partition("/")
        resource = files(module.replace("/", ".")).joinpath(below, f"{config_path}.yaml")
        return resource.read_text(encoding="utf-8"), display_path(Path(str(resource)))
    file = Path(root) / f"{config_path}.yaml"
    return file.read_text(encoding="utf-8"), display_path(file)


def source_lines(loader: ConfigLoader, config_path: str) -> Iterator[tuple[str, int, str]]:
    """Give the lines of a file of the search path: its name, the number and the text."""
    loaded = loader.repository.load_config(config_path)
    if loaded is not None and not loaded.path.startswith(STRUCTURED):
        text, name = _source(loaded.path, config_path)
        for line_number, line in enumerate(text.splitlines(), start=1):
            yield name, line_number, line


@dataclass(frozen=True)
class Line:
    """A line of a message: a text, and the place before it; empty if the text shows it."""

    text: str
    place: str = ""

    def __str__(self) -> str:
        return visible(f"{self.place}: {self.text}" if self.place else self.text, "\n")


class ConfigError(FrameworkError):
    """What is wrong with a config, in `lines`."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__("\n".join(map(str, lines)))
        self.lines = (*lines,)

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Line, ...]]]:
        return type(self), (self.lines,)  # a worker of a launcher sends it to its parent

    def with_places(self, places: Mapping[str, str]) -> ConfigError:
        """Return the error with some of its places replaced."""
        return ConfigError([dataclasses.replace(line, place=places.get(line.place, line.place)) for line in self.lines])


def refusal(problems: Sequence[Problem], overrides: Sequence[str]) -> ConfigError:
    """Return the one error that tells all problems of a config that Hydra composed, each with its place."""
    # Only here, after an error: to read all files again takes as long as composing did.
    with config_loader() as loader:
        where = read_value_sources(loader, overrides).where
    return ConfigError(listed(problems, where))


def listed(problems: Sequence[Problem], where: Callable[[str], str]) -> list[Line]:
    """Write a line for each problem, of many for the first of them and a line with the number of the others."""
    problems_by_text: dict[str, list[Problem]] = {}
    for problem in problems:
        problems_by_text.setdefault(problem.text, []).append(problem)
    distinct = [_merge(duplicates) for duplicates in problems_by_text.values()]
    lines = [*dict.fromkeys(line(problem, where) for problem in distinct[:SHOWN_PROBLEMS])]
    remaining = len(distinct) - SHOWN_PROBLEMS
    return [*lines, *([Line(f"and {count(remaining, 'more problem')}")] if remaining > 0 else [])]


def _merge(alike: Sequence[Problem]) -> Problem:
    """Return problems with one text as one: `exporter.gguf` is unknown, whichever of its settings are given."""
    keys = dict.fromkeys(key for problem in alike for key in problem.keys)
    places = dict.fromkeys(problem.place for problem in alike if problem.place)
    return dataclasses.replace(alike[0], keys=(*keys,), place=", ".join(places))


def line(problem: Problem, where: Callable[[str], str]) -> Line:
    """Write a problem with the place that set each of its keys, as `where` gives it, unless the text shows that."""
    locations = {key: location for key in problem.keys if (location := where(key))}
    distinct = [problem.place] if problem.place else list(dict.fromkeys(locations.values()))
    unquoted = re.sub("[\"']", "", distinct[0]) + ":" if distinct else ""
    if len(distinct) == 1 and not problem.text.startswith((distinct[0], unquoted)):
        return Line(problem.text, distinct[0])
    if len(distinct) == 1 or all(location in problem.text for location in distinct):  # arguments, which it quotes
        return Line(problem.text)
    return Line(f"{problem.text} ({'; '.join(f'{key}: {location}' for key, location in locations.items())})")


def explain(error: Exception) -> str:
    """Say in one or two lines what Hydra, OmegaConf or PyYAML refused."""
    if isinstance(error, OverrideParseException):
        word, why = error.override, error.message.splitlines()[0]
        name, equals, value = word.partition("=")
        if foreign := foreign_letter(f"{name}{value if name in GROUPS else ''}"):
            return f"cannot read '{word}'. {foreign}"
        if not equals and not word.startswith("~"):
            return f"cannot read '{word}': an override is KEY=VALUE, without spaces around ="
        if name != name.strip():
            return f"cannot read '{word}': write {name.strip()}={value.strip()}"
        # Hydra reads the inner quotes, the shell takes the outer ones off.
        quoted = QuotedString(value, Quote.double if "'" in value else Quote.single).with_quotes()
        typed = SPECIAL.sub(r"\\\g<0>", f"{name}={quoted}")
        reason = "" if word in why else f": {why}"  # which then says no more
        return f"cannot read '{word}'{reason}. Quote values that contain these characters: \"{typed}\""
    if mark := getattr(error, "problem_mark", None):  # PyYAML's
        return f"{display_path(Path(mark.name))}:{mark.line + 1}: not valid YAML: {getattr(error, 'problem', '')}"
    cause = error.__cause__ or error.__context__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        key = f"{cause.full_key}: " if cause.full_key else ""
        return f"{key}{str(cause).strip().splitlines()[0]}"
    # Of OmegaConf only the first line is a sentence, the others name its own types.
    is_multiline = isinstance(error, ConfigCompositionException | InstantiationException)
    lines = str(error).split("\n") if is_multiline else str(error).split("\n")[:1]
    return " ".join(" ".join(lines).split()) or type(error).__name__


def read_value_sources(loader: ConfigLoader, words: Sequence[str]) -> ValueSources:
    """Read where the values of a config come from; empty if the words do not give a defaults list."""
    try:
        return value_sources(loader, defaults_list(loader, words).defaults, words)
    except REFUSALS:  # `diagnose` reports those
        return ValueSources()


def defaults_list(loader: ConfigLoader, words: Sequence[str]) -> DefaultsList:
    """Return the configs that Hydra merges, in its order."""
    return loader.compute_defaults_list(CONFIG_NAME, list(words), RunMode.RUN)


def overruled(words: Sequence[str]) -> Iterator[str]:
    """Give a sentence for each value of a preset, chosen by a word, that a file overrules.

    That is Hydra's order, and right for an experiment that changes what it is built on. But who writes
    `trainer=patient` beside an experiment means the preset whole.
    """
    with config_loader() as loader:
        sources = read_value_sources(loader, words)
    for group, word in sources.choices.items():
        if group not in GROUPS or word not in words:
            continue
        preset_values = {setting.key: setting for setting in sources.settings if setting.preset == group}
        for name, setting in preset_values.items():
            winner = next(candidate for candidate in reversed(sources.settings) if candidate.key == name)
            if winner.value != setting.value and winner.where not in words:
                yield (
                    f"{word}: {winner.where} sets {name}={as_text(winner.value)}, which overrides "
                    f"{as_text(setting.value)} of the preset: to use that, add {name}={as_text(setting.value)}"
                )
