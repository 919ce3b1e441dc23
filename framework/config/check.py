"""The config is closed: every key is a field of a dataclass, every value is there and in its range.

Structured configs alone do not give that: `+trainer.lerning_rate=1` adds a key that nothing reads. What Hydra itself
refuses while it composes is diagnosed by `framework/plan/diagnose.py`. Both report all problems in one message, each
with its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeGuard

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from framework.api.component import GROUPS
from framework.api.fields import Field, Type, as_text, fields
from framework.api.former_settings import former_setting
from framework.api.problem import Problem
from framework.api.text.overrides import as_overrides, override_key, quoted
from framework.config.compose import config_loader
from framework.config.other_tools import equivalent_of, settings_below
from framework.config.sources import read_value_sources, refusal
from framework.hooks.session import current
from framework.util.command import this_program
from framework.util.errors import foreign_letter, names_with, nearest, summarize_error

TYPO = 0.8
"""The likeness of a misspelled name."""
KEYS_LISTED = 12
"""Valid keys that a message lists beside the nearest one; for more, it names the command that describes them."""


def check(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Check a composed config.

    Args:
        config: what Hydra composed.
        overrides: of the command line; with them each problem names the place that set it.

    Raises:
        FrameworkError: lists every unknown key, missing value, value out of range and option without a component.
    """
    if errors := list(problems(config)):
        raise refusal(errors, overrides)


class UnreadableValue(Problem):
    """A value of another type than its field: code that reads the config may fail."""


def problems(config: DictConfig) -> Iterator[Problem]:
    """Give everything that is wrong with a composed config, without the places."""
    errors = problems_below(config, "")
    yield from sorted(errors, key=lambda problem: not problem.keys)  # what is missing is at the end
    for group in GROUPS.values():
        if group.name not in config or OmegaConf.is_missing(config, group.name):
            continue  # told as a missing value
        node = config[group.name]
        for key, option in node.items() if group.several else [("", node)]:
            if current().plugins.component_of(OmegaConf.get_type(option)) is None:
                yield no_option(f"{group.name}.{key}" if key else group.name)


def code_problems(config: DictConfig, overrides: Sequence[str]) -> Iterator[Problem]:
    """Give the settings by which a file of the user names code: a config from somebody else would run it."""
    typed = {override_key(word) for word in overrides}
    values = {key: value for key, value in _code_settings(config, "") if key not in typed}
    if not values:
        return
    with config_loader() as loader:
        sources = read_value_sources(loader, overrides)
    for key, value in values.items():
        if sources.of_user(key):
            text = f"{key}={as_text(value)} runs code, which only the command line may name"
            yield Problem(f"{text}: remove it from the file, and type it", (key,))


def _code_settings(node: DictConfig, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values below a node that name code; `path` is the key of the node, with a dot at the end."""
    schema = OmegaConf.get_type(node)
    field_by_name = {field.name: field for field in fields(schema)} if is_schema(schema) else {}
    for key in node:
        if OmegaConf.is_missing(node, key):
            continue
        code = field_by_name[key].type.code if key in field_by_name else None
        try:
            value = node[key]
            plain = OmegaConf.to_container(value, resolve=True) if code and OmegaConf.is_config(value) else value
        except OmegaConfBaseException:  # an interpolation that leads nowhere, which `problems` reports
            continue
        if isinstance(value, DictConfig):
            yield from _code_settings(value, f"{path}{key}.")
        if code and code.when(plain):
            yield f"{path}{key}", plain


def problems_below(node: DictConfig, path: str) -> Iterator[Problem]:
    """Yield the problems of the keys and values of a node; `path` is the key of the node, with a dot at the end."""
    schema = OmegaConf.get_type(node)
    field_by_name = {field.name: field for field in fields(schema)} if is_schema(schema) else None
    present = list(node)  # `in` of a config passes over what has no value yet
    # Keys that are there first, in their order, then those that are missing.
    for key in dict.fromkeys([*present, *(field_by_name or ())]):
        full_key = f"{path}{key}"
        if field_by_name is not None and key not in field_by_name:
            raw = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
            plain = OmegaConf.to_container(raw) if OmegaConf.is_config(raw) else raw
            yield Problem(unknown_key(full_key, field_by_name, option_name(schema), schema, plain), (full_key,))
            continue
        # A key of a free dict, which Hydra would instantiate.
        if key == "_target_" and field_by_name is None:
            yield Problem(f"{full_key}={as_text(node[key])}: a config cannot name code: remove it", (full_key,))
            continue
        if key not in present or OmegaConf.is_missing(node, key):
            valid = "|".join(current().plugins.components(full_key)) if full_key in GROUPS else "…"
            yield Problem(f"{full_key} has no value: set {full_key}={valid}")
            continue
        try:
            value = node[key]
            plain = OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
        except InterpolationResolutionError as error:
            yield Problem(f"{full_key}: {str(error).splitlines()[0]}", (full_key,))
            continue
        if isinstance(value, DictConfig):
            yield from problems_below(value, f"{full_key}.")
            if (
                field_by_name is not None
                and (items := field_by_name[key].type.items)
                and items.base in {str, int, float, bool}
            ):
                yield from _items(full_key, value, field_by_name[key])
            continue
        wrong = list(_range(full_key, plain, field_by_name[key].type)) if field_by_name is not None else []
        yield from wrong
        if isinstance(value, ListConfig) and not wrong:
            for index, item in enumerate(value):
                yield from problems_below(item, f"{full_key}[{index}].") if isinstance(item, DictConfig) else ()


def _items(full_key: str, value: DictConfig, field: Field) -> Iterator[Problem]:
    """Check the values below a field that takes any keys; nothing did when they were merged."""
    for key in value:
        if not OmegaConf.is_missing(value, key) and not field.has_type({str(key): OmegaConf.to_container(value)[key]}):
            valid = field.type.items.valid if field.type.items else "any value"
            yield Problem(f"{full_key}.{key}={as_text(value[key])} must be {valid}", (f"{full_key}.{key}", full_key))


def _range(key: str, value: Any, kind: Type) -> Iterator[Problem]:
    try:
        fits = kind.holds(value)
    except Exception as error:  # noqa: BLE001 - a bound of a third-party plugin may raise anything
        yield Problem(f"{key}={as_text(value)}: its range cannot be checked: {summarize_error(error)}", (key,))
        return
    if not fits:
        items = value if isinstance(value, list) and kind.items else []
        unreadable = not kind.has_form(value) or not all(kind.items and kind.items.has_form(item) for item in items)
        yield (UnreadableValue if unreadable else Problem)(out_of_range(key, value, kind), (key,))


def is_schema(schema: type | None) -> TypeGuard[type]:
    """Whether a type that OmegaConf gives for a node is a dataclass."""
    return isinstance(schema, type) and dataclasses.is_dataclass(schema)


def no_option(key: str) -> Problem:
    """Return the problem of a preset that is built on no option of its group; `key` is its place."""
    group = key.partition(".")[0]
    valid = ", ".join(current().plugins.components(group))
    text = f"{key} is not built on any option of '{group}': start its defaults list with one of {valid}"
    if key == group and GROUPS[group].several:
        text += f", and make '# @package {group}.NAME' its first line"
    return Problem(text, (key,))


def out_of_range(key: str, value: Any, kind: Type) -> str:
    """Say that a value is not valid, what would be, and the nearest name if one of several is wanted."""
    choices = kind.choices or (kind.items.choices if kind.items else [])
    for word in value if isinstance(value, list) else [value]:
        if choices and as_text(word) not in choices and (close := nearest(as_text(word), choices)):
            return f"{key}={as_text(value)} must be {kind.valid}. Did you mean '{close[0]}'?"
    # 1e3 is not a whole number, though it looks like 1000; nor is the text "5", if a word is valid too.
    looks_right = kind.base is int and (isinstance(value, float) or (kind.word and as_text(value).isdecimal()))
    shown = repr(value) if looks_right else as_text(value)
    hint = ""
    if isinstance(value, bool) and (words := {True: "on", False: "off"}[value]) in choices:
        hint = f': YAML reads on and off as true and false, so write "{words}" in quotes'
    return f"{key}={shown} must be {kind.valid}{hint}"


def instead(schema: type | None) -> Mapping[str, str]:
    """Return what names that one may expect are instead of fields, each as the rest of a sentence.

    It is the class variable `instead` of a dataclass. Another one, `unused`, has those names that no setting is.
    """
    return getattr(schema, "instead", {})


def unknown_key(key: str, names: Iterable[str], option: str = "", schema: type | None = None, value: Any = None) -> str:
    """Say that nothing reads `key`.

    Where another option of the group has the key, that is the likelier mistake than a misspelled name.

    Args:
        key: as it is written, with the place.
        names: the fields that are beside it.
        option: what was chosen there.
        schema: of the option, which may say what other names are.
        value: what is set, if it is known.
    """
    names, refusals = [*names], instead(schema)
    parent, _, name = key.rpartition(".")
    if (now := former_setting(key, value)) is not None:
        return f"{key} is set elsewhere now: {_typed(now, value)}"
    if name in refusals:
        return f"{name} {refusals[name]}"
    if parent in GROUPS and option and not GROUPS[parent].several and (options := _options_with(parent, name)):
        ways = " or ".join(f"{parent}={choice}" for choice in options)
        return f"unknown key '{key}': {parent}={option} does not have it. It belongs to {ways}: choose that too."
    if equivalent := equivalent_of(name, value):
        return f"unknown key '{key}': {equivalent.sentence(value=value)}."
    if name not in names and (elsewhere := _elsewhere(name, parent, value)):
        return f"unknown key '{key}': {elsewhere}."
    unused: Collection[str] = getattr(schema, "unused", ())
    close = nearest(name, [*names, *(refusals.keys() - {*unused})])
    hint = f" Did you mean '{parent}.{close[0]}'?".replace("'.", "'") if close else ""
    if close and close[0] not in {*names}:
        hint = f" Did you mean '{close[0]}'? It {refusals[close[0]]}."
    # A name that is refused, too, is not a suggestion; a misspelled one is still explained.
    if (typo := get_close_matches(name, [*names, *refusals], 1, TYPO)) and typo[0] in unused:
        hint = f" '{typo[0]}' {refusals[typo[0]]}."
    if foreign := foreign_letter(name):
        hint = f" {foreign}.{hint}"
    if not parent and name not in names and not names_with(name, names) and (below := settings_below(name)):
        return f"unknown key '{key}'. Did you mean {' or '.join(below[:2])}?"
    valid = sorted(field_name for field_name in names if not field_name.startswith("_"))  # `_target_` is Hydra's
    scope = f" in {parent}={option}" if parent in GROUPS and option else f" in {parent}" if parent else ""
    if hint and len(valid) > KEYS_LISTED and parent in GROUPS and option:
        return f"unknown key '{key}'.{hint} `{this_program()} plugins {parent} {option}` lists all {len(valid)} keys."
    return f"unknown key '{key}'.{hint} Valid{scope}: {', '.join(valid) or 'nothing to set'}."


def _elsewhere(name: str, parent: str, value: Any) -> str:
    """Say which options have a setting of this name, or know what it is here; empty if none does."""
    options_by_group: dict[str, list[str]] = {}
    for group in GROUPS.keys() - {parent.partition(".")[0]}:
        if GROUPS[group].several and not parent:  # a bare name is more likely a part of the name of a plain setting
            continue
        if options := _options_with(group, name):
            options_by_group[group] = options
    if len(options_by_group) == 1:
        ((group, options),) = options_by_group.items()
        template = f"{group}.{{}}.{name}" if GROUPS[group].several else f"{group}.{name}"
        typed = f"{template.format(options[0])}={'…' if value is None else as_text(value)}"
        return f"it is {typed} here, a setting of {group}={'|'.join(options)}"
    if options_by_group:
        return ""
    for group in GROUPS:
        for component in current().plugins.components(group).values():
            if name in (aliases := instead(component.schema)):
                return f"{name} {aliases[name]}"
    return ""


def _typed(now: Mapping[str, Any], value: Any) -> str:
    """Say what to type instead of a former setting whose value may not be known."""
    if value is None:
        return f"set {' and '.join(now) or 'nothing'}"
    typed = " ".join(as_overrides(now)) or "nothing, the value is the default"
    chosen = [f"'- override /{key}: {quoted(now[key])}'" for key in now if key in GROUPS]
    return f"type {typed}" + (f"; in a file, {' and '.join(chosen)} in its defaults" if chosen else "")


def _options_with(group: str, name: str) -> list[str]:
    """Return the options of a group that have a setting of that name."""
    components = current().plugins.components(group)
    return [
        option
        for option, component in components.items()
        if any(field.name == name for field in fields(component.schema))
    ]


def option_name(schema: type | None) -> str:
    """Return the name of the option that a schema belongs to; empty if it is none."""
    component = current().plugins.component_of(schema)
    return component.name if component else ""
