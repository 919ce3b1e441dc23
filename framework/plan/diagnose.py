"""What Hydra refused to compose, in the terms of the config: with its place, the nearest name and the valid ones.

Hydra stops at the first mistake, and so does what is reported of overrides and defaults lists. Keys and values are set
once more by OmegaConf, one after the other, to find out which of them it refuses; each of those is reported. To collect
the others too, Hydra's merge would have to be done again here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from framework.api.component import GROUPS
from framework.api.fields import Field, as_text, fields
from framework.api.former_settings import former_setting
from framework.api.problem import Problem
from framework.api.schema import RunConfig
from framework.config.check import is_schema, no_option, option_name, out_of_range, unknown_key
from framework.config.compose import EXPERIMENT, config_loader
from framework.config.other_tools import option_elsewhere
from framework.config.sources import (
    REFUSALS,
    ConfigError,
    SourcedValue,
    ValueSources,
    defaults_list,
    entries,
    explain,
    listed,
    value_sources,
)
from framework.hooks.session import current
from framework.util.errors import FrameworkError, unknown
from framework.util.versions import DISTRIBUTION

HYDRA = "hydra"
GLOBAL = "its keys belong to no group: make '# @package _global_' the first line of the experiment"
RESOLVED = "_dummy_: "
"""How the error begins if Hydra cannot resolve a reference in a defaults list."""
MOST_FILES = 50
"""Python files of a working folder that are searched for the name of an option."""
LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""Launchers that are distributions of their own, and the extra that brings each."""


def diagnose(error: Exception, words: Sequence[str]) -> FrameworkError:
    """Return the error to report for what Hydra raised while it composed the overrides of a command line, `words`."""
    if isinstance(error, FrameworkError):
        return error
    overrides = overrides_of(words)
    try:
        with config_loader() as loader:
            return ConfigError(listed(_problems(loader, error, overrides), lambda _: ""))
    except FrameworkError as refused:  # of a file that is read only now
        return refused
    except REFUSALS:  # the files cannot be read a second time either: Hydra's own message says why
        return FrameworkError(explain(error))


def overrides_of(words: Sequence[str]) -> list[str]:
    """Return the overrides among the words of a command line."""
    overrides: list[str] = get_args_parser().parse_known_args(list(words))[0].overrides
    return overrides


def _problems(loader: ConfigLoader, error: Exception, words: Sequence[str]) -> list[Problem]:
    overrides = OverridesParser.create(loader).parse_overrides(list(words))
    wrong = (
        Problem(text, place=str(override.input_line))
        for override in overrides
        if (text := _wrong_choice(loader, override))
    )
    if problem := next(wrong, None):
        return [problem]
    try:
        defaults = defaults_list(loader, words).defaults
    except FrameworkError:
        raise
    except REFUSALS as refused:
        return [_in_defaults(loader, refused, overrides)]
    if problems := list(_refused(value_sources(loader, defaults, words))):
        return problems
    deleted = next((str(override.input_line) for override in overrides if override.is_delete()), "")
    if deleted and "deletion" in explain(error):
        text = "a setting cannot be deleted: set another value, or null if that is valid"
        return [Problem(text, place=deleted)]
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        names = [str(name) for name in cause.parent_node or ()]
        where = (str(override.input_line) for override in overrides if override.key_or_group.startswith(cause.full_key))
        return [Problem(unknown_key(cause.full_key, names), place=next(where, ""))]
    return [Problem(explain(error))]


def _wrong_choice(loader: ConfigLoader, override: Override) -> str:
    """Say what Hydra does not say well about the choice of options by an override; empty if nothing is wrong."""
    group, value = override.key_or_group, override.value()
    if group == EXPERIMENT and not override.is_add():
        return unknown("config group", group, [*GROUPS, "+experiment"])
    is_names = all(isinstance(name, str) and name for name in (value if isinstance(value, list) else [value]))
    if group == EXPERIMENT and not (value and is_names):
        return "name an experiment, or leave this out"
    if override.is_sweep_override() or (group not in GROUPS and not loader.repository.group_exists(group)):
        return ""
    if group not in GROUPS:
        is_option = is_names or override.is_delete() or isinstance(value, dict)
        return "" if is_option else f"{group} takes the name of an option, which is text"
    several, names = GROUPS[group].several, ", ".join(current().plugins.components(group))
    if override.is_delete() or value is None or value == "":
        return f"to choose none, set {group}=[]" if several else f"{group} needs one of {names}"
    if not is_names and not isinstance(value, dict):
        return f"{group} takes a list of names, some of {names}" if several else f"{group} needs one of {names}"
    if isinstance(value, list) and not several:
        return f"{group} takes only one option: one of {names}"
    if override.is_add() and not override.package and not isinstance(value, dict):
        return f"{group} already has an option: change it with {group}={override.get_value_element_as_str()}"
    return ""


def _in_defaults(loader: ConfigLoader, error: Exception, overrides: Sequence[Override]) -> Problem:
    """Say why Hydra gives no defaults list: an entry is written in the wrong way, or an option does not exist."""
    chosen = [
        (override.key_or_group, name, str(override.input_line))
        for override in overrides
        for name in _options(override.value())
    ]
    if isinstance(error, RecursionError):
        paths = [f"{group}/{option}" for group, option, _ in chosen if loader.repository.group_exists(group)]
        circle = next((where for path in paths if (where := _circle(loader, (path,)))), "")
        return Problem("the defaults lists of these files lead back to this entry: remove it", place=circle)
    reason = explain(error)
    built_on = []
    paths = [f"{group}/{option}" for group, option, _ in chosen if loader.repository.group_exists(group)]
    for path in paths:  # grows while it is read, by the files that a file is built on
        folder = path.rpartition("/")[0]
        for entry, where in entries(loader, path):
            if reason.startswith(RESOLVED) and "${" in str(getattr(entry, "value", None) or getattr(entry, "path", "")):
                return Problem(f"defaults: {reason.removeprefix(RESOLVED)}", place=where)
            if isinstance(entry, GroupDefault):
                built_on += [(str(entry.group).lstrip("/"), name, where) for name in _options(entry.value)]
                if folder == EXPERIMENT and (text := _wrong_entry(entry)):
                    return Problem(text, place=where)
            elif isinstance(entry, ConfigDefault) and entry.path:
                base = str(entry.path) if entry.path.startswith("/") else f"{folder}/{entry.path}"
                base = base.lstrip("/")
                if base not in paths:
                    built_on.append((*base.rpartition("/")[::2], where))
                    paths.append(base)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.strip("/").rpartition("/")
        valid = current().plugins.components(group) if group in GROUPS else loader.get_group_options(group)
        text = option_elsewhere(group, option) or unknown(group or "config", option, {*valid, *(error.options or ())})
        text += f" {file} has one: add plugins=[./{file}]" if (file := _file_with(option)) else ""
        if group == "hydra/launcher" and (extra := LAUNCHERS.get(option)):
            from framework.util.requirements import pip_command  # noqa: PLC0415 - urllib.request brings http and ssl

            text = f"hydra/launcher={option} needs hydra-{extra}-launcher: {pip_command([f'{DISTRIBUTION}[{extra}]'])}"
        places = (where for *choice, where in [*chosen, *built_on] if choice == [group, option])
        return Problem(text, place=next(places, ""))
    file = next((word for group, _, word in chosen if group == EXPERIMENT), "")
    if isinstance(error, AssertionError):  # what Hydra raises for the order, without a message
        return Problem("in a defaults list, the entries with 'override' have to come after all others", place=file)
    word = next((str(override.input_line) for override in overrides if override.key_or_group in reason.split()), file)
    return Problem(reason, place=word)


def _file_with(option: str) -> str:
    """Return a Python file of the working folder that defines a function or class of that name; empty without one."""
    defined = re.compile(rf"(?:def|class) {re.escape(option)}\b")
    for file in sorted(Path().glob("*.py"))[:MOST_FILES]:
        with suppress(OSError), file.open(encoding="utf-8", errors="replace") as opened:
            if any(defined.match(line) for line in opened):
                return file.name
    return ""


def _circle(loader: ConfigLoader, chain: tuple[str, ...]) -> str:
    """Return the place of the entry by which a file, the last of a chain, is built on one that is built on it."""
    folder = chain[-1].rpartition("/")[0]
    for entry, where in entries(loader, chain[-1]):
        if isinstance(entry, GroupDefault):
            following = [f"{str(entry.group).lstrip('/')}/{name}" for name in _options(entry.value)]
        elif isinstance(entry, ConfigDefault) and entry.path != "_self_":
            path = str(entry.path)
            following = [path.lstrip("/") if path.startswith("/") else f"{folder}/{path}"]
        else:
            following = []
        for path in following:
            if path in chain:
                return where
            if circle := _circle(loader, (*chain, path)):
                return circle
    return ""


def _options(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [str(value)]


def _wrong_entry(entry: GroupDefault) -> str:
    """Say what is wrong with the way in which an experiment chooses an option; empty if nothing is."""
    if entry.package:
        return ""
    group, value = str(entry.group), as_text(entry.value)
    if group in GROUPS:
        return f"write it with a slash: '- override /{group}: {value}'"
    if (group := group.lstrip("/")) in GROUPS and not entry.override:
        return f"{group} already has an option: change it with '- override /{group}: {value}'"
    return ""


def _refused(sources: ValueSources) -> Iterator[Problem]:
    """Give what OmegaConf refuses of all that was set."""
    config = OmegaConf.structured(RunConfig)
    for package, node in sources.schemas.items():
        group, _, name = package.partition(".")
        schema = OmegaConf.get_type(node)
        if group == HYDRA:
            OmegaConf.update(config, package, node, force_add=True)
        elif group in GROUPS and issubclass(schema, GROUPS[group].base) and bool(name) == GROUPS[group].several:
            OmegaConf.update(config, package, node)
        elif group:
            text = f"the option '{option_name(schema)}' cannot be used at '{package}'"
            yield Problem(text, place=sources.choices.get(package, ""))
    OmegaConf.set_struct(config, True)  # noqa: FBT003 - positional only; Hydra closes a config too
    OmegaConf.set_struct(config[HYDRA], False)  # noqa: FBT003 - there files may add callbacks
    for setting in sources.settings:
        group, _, below = setting.key.partition(".")
        if setting.fault or group == EXPERIMENT:
            yield Problem(setting.fault or GLOBAL, place=setting.where)
        elif setting.key == HYDRA and not isinstance(setting.value, dict):  # OmegaConf would replace all of them
            yield Problem(f"{HYDRA}={as_text(setting.value)} must be a group of settings", place=setting.where)
        elif setting.preset == group and not {group, f"{group}.{below.partition('.')[0]}"} & sources.schemas.keys():
            yield Problem(no_option(group).text, place=setting.where.rpartition(":")[0])
        else:
            try:
                added, parent = setting.where.startswith("+"), setting.key.rpartition(".")[0]
                # Settings that are null as a whole by default, as OmegaConf sets nothing below null.
                field = _field(config, parent) if parent else None
                holds_settings = field is None or field.type.base is dict or is_schema(field.type.base)
                if parent and OmegaConf.select(config, parent) is None and holds_settings:
                    OmegaConf.update(config, parent, {}, merge=False, force_add=added)
                OmegaConf.update(config, setting.key, setting.value, merge=True, force_add=added)
            except (OmegaConfBaseException, ValueError) as error:
                yield Problem(_reason(config, setting, error), place=setting.where)
            except AttributeError:  # OmegaConf meets a plain value where the key needs named ones
                yield Problem(unknown_key(setting.key, []), place=setting.where)


def _field(config: DictConfig, key: str) -> Field | None:
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.get_type(OmegaConf.select(config, parent) if parent else config)
    return next((field for field in fields(schema) if field.name == name), None) if is_schema(schema) else None


def _reason(config: DictConfig, setting: SourcedValue, error: Exception) -> str:
    """Say why a value cannot be set."""
    key, value = setting.key, as_text(setting.value)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and error.full_key:
        if setting.preset and error.full_key.rpartition(".")[2] == setting.preset:
            return (
                f"a preset of '{setting.preset}' has its keys at the top level of the file: remove '{setting.preset}:'"
            )
        schema = OmegaConf.get_type(error.parent_node)
        names = [field.name for field in fields(schema)] if is_schema(schema) else map(str, error.parent_node)
        faulty_key = error.full_key if former_setting(key, setting.value) is None else key
        raw_value = setting.value if faulty_key == key else None
        return unknown_key(faulty_key, [*names], option_name(schema), schema, raw_value)
    if key in GROUPS:
        entry = f"'- override /{key}: {value}'"
        return f"{key}={value} does not choose an option here: in a file, write {entry} in its defaults"
    parent = key.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else config
    if node is None or isinstance(node, ListConfig):  # below a plain value, or below a list
        return unknown_key(key, [])
    field = _field(config, key)
    if field and not field.has_type(setting.value):
        return out_of_range(key, setting.value, field.type)
    return f"{key}={value} cannot be read: {explain(error)}"
