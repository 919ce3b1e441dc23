"""Where each value of a config was set: a line of a YAML file, or a word of the command line.

Hydra merges what it reads and forgets where that came from. For an error message the config is read once more, file by
file in Hydra's own order, with the lines kept.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.defaults_list import DefaultsList
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    HydraException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from framework.api.component import GROUPS
from framework.config.compose import CONFIG_NAME, config_loader
from framework.config.problem import Problem
from framework.util.errors import FrameworkError, short

HYDRA = "hydra"
"""The key below which Hydra's own settings stand."""
REFUSALS = (HydraException, CompactHydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError)
"""What Hydra raises where it cannot compose."""


@dataclass(frozen=True)
class Setting:
    """One value that was set: the dotted `key`, the `value` as plain data, and `where`.

    With `adds` the word claims that the key is new. `fault` says what is wrong with the way it is written. `preset` is
    the group of the file that it stands in, where that is a preset.
    """

    key: str
    value: Any
    where: str
    adds: bool = False
    fault: str = ""
    preset: str = ""


@dataclass
class Origins:
    """What was set, in the order in which it is merged.

    Attributes:
        settings: every value, those of files before those of the command line.
        hydra: those below `hydra`, which are none of a run.
        hydra_schemas: the dataclasses below `hydra`, of the sweeper and of the launcher.
        choices: for a group the place that chose its option last.
        schemas: the dataclass that was loaded last below a package: `adapter`, `metric.exact_match`.
        options: the option that is behind each of them: `metric/exact_match`.
    """

    settings: list[Setting] = field(default_factory=list)
    hydra: list[Setting] = field(default_factory=list)
    hydra_schemas: dict[str, type] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, type] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """Return the place that set `key` last, or chose the option that it names; empty for a default."""
        if key in self.choices:
            return self.choices[key]
        last = [*reversed(self.hydra), *reversed(self.settings)]
        same = (setting.where for setting in last if setting.key == key)
        below = (setting.where for setting in last if setting.key.startswith(f"{key}."))
        return next(same, next(below, ""))


def origins(loader: ConfigLoader, defaults: Sequence[ResultDefault], words: Sequence[str]) -> Origins:
    """Read what a defaults list and the words of a command line set."""
    found = Origins()
    for default in defaults:
        package = default.package or ""
        loaded = loader.repository.load_config(default.config_path) if default.config_path else None
        if loaded is None:
            continue
        if package.partition(".")[0] == HYDRA:
            if loaded.path.startswith("structured:"):
                found.hydra_schemas[package] = OmegaConf.get_type(loaded.config)
        elif loaded.path.startswith("structured:"):
            found.schemas[package] = OmegaConf.get_type(loaded.config)
            found.options[package] = default.config_path
        else:
            _read_file(found, loaded.path, default.config_path, package, loaded.config)
    for override in OverridesParser.create(loader).parse_overrides(list(words)):
        _read_word(found, loader, override)
    return found


def _read_file(found: Origins, folder: str, config_path: str, package: str, config: DictConfig) -> None:
    text, name = _source(folder, config_path)
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    if tree is None:  # nothing but comments
        return
    if not isinstance(tree, yaml.MappingNode):
        place = f"{name}:{tree.start_mark.line + 1}"
        found.settings.append(
            Setting("", None, place, fault="a config file holds keys and values, this one a list or a text")
        )
        return
    plain = OmegaConf.to_container(config, resolve=False)
    preset = config_path.partition("/")[0]
    for key, value in _entries(tree):
        if key.value == "defaults":
            for group, line in _choices(value):
                found.choices[group] = f"{name}:{line}"
        elif isinstance(plain, dict):
            kept = found.hydra if key.value == HYDRA else found.settings
            for each in _leaves(package, key, value, plain, name):
                kept.append(dataclasses.replace(each, preset=preset if preset in GROUPS else ""))


def _entries(node: yaml.MappingNode) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the entries of a mapping, those of merge keys (`<<: *base`) among them."""
    yaml.SafeLoader("").flatten_mapping(node)
    return [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def _leaves(path: str, key: yaml.ScalarNode, node: yaml.Node, values: dict[Any, Any], name: str) -> Iterator[Setting]:
    """Give the values below an entry of a YAML file with their lines."""
    where = f"{name}:{key.start_mark.line + 1}"
    below = f"{path}.{key.value}" if path else str(key.value)
    value = values.get(key.value)
    if "." in key.value:
        fault = (
            f"'{key.value}' is one key with a dot in it: write '{key.value.partition('.')[0]}:' and the rest indented"
        )
        yield Setting(below, value, where, fault=fault)
    elif isinstance(node, yaml.MappingNode) and node.value and isinstance(value, dict):
        for inner, part in _entries(node):
            yield from _leaves(below, inner, part, value, name)
    else:
        yield Setting(below, value, where)


def _choices(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Give the groups that a defaults list names, with their lines."""
    for item in node.value if isinstance(node, yaml.SequenceNode) else []:
        for key, _ in item.value if isinstance(item, yaml.MappingNode) else []:
            yield re.sub(r"^((override|optional)\s+)*/?", "", str(key.value)), key.start_mark.line + 1


def _source(folder: str, config_path: str) -> tuple[str, str]:
    """Return the text of a file of the search path, and its name as a user would type it."""
    scheme, _, place = folder.partition("://")
    if scheme == "pkg":
        module, _, below = place.partition("/")
        resource = files(module.replace("/", ".")).joinpath(below, f"{config_path}.yaml")
        return resource.read_text(encoding="utf-8"), short(Path(str(resource)))
    file = Path(place) / f"{config_path}.yaml"
    return file.read_text(encoding="utf-8"), short(file)


def source_lines(loader: ConfigLoader, config_path: str) -> Iterator[tuple[str, int, str]]:
    """Give the lines of a file of the search path: its name, the number and the text."""
    loaded = loader.repository.load_config(config_path)
    if loaded is not None and not loaded.path.startswith("structured:"):
        text, name = _source(loaded.path, config_path)
        for number, line in enumerate(text.splitlines(), start=1):
            yield name, number, line


def _read_word(found: Origins, loader: ConfigLoader, override: Override) -> None:
    key, word = str(override.key_or_group), str(override.input_line)
    if loader.repository.group_exists(key) and not isinstance(override.value(), dict):
        found.choices[key] = word
    elif override.is_delete():
        return
    else:
        kept = found.hydra if key.partition(".")[0] == HYDRA else found.settings
        kept += _below(key, override.value(), word, adds=override.is_add())


def _below(key: str, value: Any, word: str, *, adds: bool) -> Iterator[Setting]:
    if isinstance(value, dict) and value and key.partition(".")[0] in GROUPS:
        for name, part in value.items():
            yield from _below(f"{key}.{name}", part, word, adds=adds)
    else:
        yield Setting(key, value, word, adds=adds)


def refusal(found: Sequence[Problem], overrides: Sequence[str]) -> FrameworkError:
    """Return the one error that tells all problems of a config that Hydra composed, each with its place."""
    with config_loader() as loader:
        where = read_origins(loader, overrides).where
    return FrameworkError("\n".join(dict.fromkeys(line(problem, where) for problem in found)))


def line(problem: Problem, where: Callable[[str], str]) -> str:
    """Write a problem with the place that set each of its keys, as `where` gives it."""
    places = {key: place for key in problem.keys if (place := where(key))}
    distinct = [problem.where] if problem.where else list(dict.fromkeys(places.values()))
    if not distinct or (len(distinct) == 1 and problem.text.startswith((distinct[0], f"cannot read '{distinct[0]}"))):
        return problem.text  # which shows the word itself
    if len(distinct) == 1:
        return f"{distinct[0]}: {problem.text}"
    return f"{problem.text} ({'; '.join(f'{key}: {place}' for key, place in places.items())})"


def explain(error: Exception) -> str:
    """Say in one or two lines what Hydra, OmegaConf or PyYAML refused."""
    if isinstance(error, OverrideParseException):
        word, why = error.override, error.message.splitlines()[0]
        name, _, value = word.partition("=")
        return f"cannot read '{word}': {why}. A text with such characters wants quotes of its own: \"{name}='{value}'\""
    if mark := getattr(error, "problem_mark", None):  # PyYAML's
        return f"{mark.name}:{mark.line + 1}: no YAML: {getattr(error, 'problem', '')}"
    cause = error.__cause__ or error.__context__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        key = f"{cause.full_key}: " if cause.full_key else ""
        return f"{key}{str(cause).strip().splitlines()[0]}"
    return " ".join(str(error).split()) if isinstance(error, ConfigCompositionException) else str(error).splitlines()[0]


def read_origins(loader: ConfigLoader, words: Sequence[str]) -> Origins:
    """Read where the values of a config come from; empty where the words do not give a defaults list."""
    try:
        return origins(loader, defaults_list(loader, words).defaults, words)
    except REFUSALS:  # those are told by `diagnose`
        return Origins()


def defaults_list(loader: ConfigLoader, words: Sequence[str]) -> DefaultsList:
    """Return what Hydra puts together, in its order."""
    return loader.compute_defaults_list(CONFIG_NAME, list(words), RunMode.RUN)
