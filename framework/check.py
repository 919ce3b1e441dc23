"""The config is closed: every key is a field of a dataclass, every value is there, and all problems come at once.

Structured configs alone do not give that: `+trainer.lerning_rate=1` adds a key that nothing reads. `explain` puts what
Hydra itself refuses into the same words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.component import GROUPS
from framework.errors import FrameworkError, nearest, unknown
from framework.plugins import components
from framework.schema import RunConfig


def check(config: DictConfig) -> None:
    """Check a composed config.

    Raises:
        FrameworkError: lists every unknown key, missing value and option without a component.
    """
    problems = list(_problems(config))
    if problems:
        raise FrameworkError("\n".join(problems))


def _problems(config: DictConfig) -> Iterator[str]:
    yield from _unknown_keys(config, "")
    for key in sorted(OmegaConf.missing_keys(config)):
        yield f"{key} has no value: set {key}=…"
    for group in GROUPS.values():
        if group.name not in config or OmegaConf.is_missing(config, group.name):
            continue
        schemas = {component.schema for component in components(group).values()}
        node = config[group.name]
        for key, option in node.items() if group.several else [("", node)]:
            if OmegaConf.get_type(option) not in schemas:
                place = f"{group.name}.{key}" if key else group.name
                valid = ", ".join(components(group))
                yield f"{place} is built on no option of '{group.name}': start its defaults list with one of {valid}"


def _unknown_keys(node: DictConfig, path: str) -> Iterator[str]:
    schema = OmegaConf.get_type(node)
    names = [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else None
    for key in node:
        place = f"{path}{key}"
        if names is not None and key not in names:
            yield unknown_key(place, names)
        elif not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            yield from _unknown_keys(node[key], f"{place}.")


def explain(error: Exception) -> str:
    """Say in one or two lines what Hydra or OmegaConf refused, with the nearest valid name."""
    if isinstance(error, FrameworkError):
        return str(error)
    if isinstance(error, OverrideParseException):
        word, why = error.override, error.message.splitlines()[0]
        name, _, value = word.partition("=")
        return f"cannot read '{word}': {why}. A text with such characters wants quotes of its own: \"{name}='{value}'\""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if (options := error.options or components(group) if group in GROUPS else error.options) is not None:
            return unknown(group or "config", option, options)
    if mark := getattr(error, "problem_mark", None):  # PyYAML's
        return f"{mark.name}:{mark.line + 1}: no YAML: {getattr(error, 'problem', '')}"
    if isinstance(error, ConfigCompositionException) or error.__cause__ is not None:
        return _explain_composition(error)
    return str(error).strip().splitlines()[0]


def _explain_composition(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    text = str(error).strip()
    override = re.search(r"(?:Could not (?:override|append|delete)|Error merging override) '?([\w.@/]+)", text)
    if "No match in the defaults list" in text:
        name = override.group(1) if override else text
        return unknown("config group", name.split("@")[0], [*GROUPS, "+experiment"])
    key = override.group(1) if override else ""
    if isinstance(cause, OmegaConfBaseException):
        schema = cause.object_type
        key = key or str(cause.full_key)
        file = re.match(r"In '[^']+': ", text)  # the YAML below conf/ that says so
        place = file.group() if file else ""
        if dataclasses.is_dataclass(schema) and "not in" in str(cause):
            return place + unknown_key(key, [field.name for field in dataclasses.fields(schema)])
        if "is not in struct" in str(cause) and isinstance(cause.parent_node, DictConfig):
            return place + unknown_key(str(cause.full_key), [str(name) for name in cause.parent_node])
        return f"{place}{key}: {str(cause).strip().splitlines()[0]}"
    if override and "." not in key and key not in RunConfig.__dataclass_fields__:
        return unknown_key(key, RunConfig.__dataclass_fields__)
    return text.replace("\n", " ")


def unknown_key(key: str, names: Iterable[str]) -> str:
    """Say that nothing reads `key`; `names` are the fields that stand beside it."""
    parent, _, name = key.rpartition(".")
    close = nearest(name, names)
    hint = f" Did you mean '{parent}.{close[0]}'?".replace("'.", "'") if close else ""
    place = f" in {parent}" if parent else ""
    return f"unknown key '{key}'.{hint} Valid{place}: {', '.join(sorted(names)) or 'nothing to set'}."
