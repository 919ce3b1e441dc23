"""Hydra refused to compose: say everything that is wrong, not only what it met first.

The config is put together once more, by the same files in the same order, but what does not fit is noted and passed
over. So one message names every unknown option, unknown key and wrong type, and what is wrong with the rest besides.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra._internal.defaults_list import DefaultsList
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    CompactHydraException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from framework.check import Problem, line, option_name, out_of_range, problems, unknown_key
from framework.component import GROUPS
from framework.compose import CONFIG_NAME, compose, config_loader
from framework.errors import FrameworkError
from framework.fields import Field, fields
from framework.origin import Origins, Setting, origins
from framework.plan import make_plan, plan_problems
from framework.plugins import components
from framework.refused import explain, refused
from framework.schema import RunConfig

REFUSALS = (CompactHydraException, OmegaConfBaseException, YAMLError, ValueError)
"""What Hydra raises where it cannot compose."""
POINTS = 32
"""How many points of a sweep are looked at; the others hold the same values in other combinations."""
ROUNDS = 16
"""How often the defaults list is tried again without a word that it refused."""

MISPLACED = {
    "": "a config file holds keys and values, this one a list or a text",
    "experiment": "its keys belong to no group: the first line of an experiment is '# @package _global_'",
}
"""First parts of keys that only a file of the wrong form gives."""


def diagnose(error: Exception, words: Sequence[str]) -> FrameworkError:
    """Return what to tell about an error that Hydra raised while it composed `words`."""
    if isinstance(error, FrameworkError):
        return error
    lines = mistakes(words)
    return FrameworkError("\n".join(lines) if lines else explain(error))


def mistakes(words: Sequence[str]) -> list[str]:
    """Return a line for everything that is wrong with the words of a command line, those of every point of a sweep."""
    found: list[str] = []
    with config_loader() as loader:
        for point in _points([word for word in words if not word.startswith("-")], found):
            found += _problems(loader, point)
    return list(dict.fromkeys(found))


def check_sweep(words: Sequence[str]) -> None:
    """Check the points of a sweep before Hydra makes its folder: a mistake in the last one is told now.

    Raises:
        FrameworkError: everything that is wrong with the first `POINTS` points.
    """
    found: list[str] = []
    points = _points([word for word in words if not word.startswith("-")], found)
    for point in points:
        try:
            make_plan(compose(point), run_dir=Path.cwd(), overrides=tuple(point))
        except Exception as error:
            if not isinstance(error, (FrameworkError, *REFUSALS)):
                raise
            found += str(diagnose(error, point)).splitlines()
    if found:
        raise FrameworkError("\n".join(dict.fromkeys(found)))


def read_origins(loader: ConfigLoader, words: Sequence[str]) -> Origins:
    """Read where the values of a config come from; empty where the words do not give a defaults list."""
    try:
        return origins(loader, _defaults(loader, words).defaults, words)
    except REFUSALS:  # those are told by `diagnose`
        return Origins()


def _defaults(loader: ConfigLoader, words: Sequence[str]) -> DefaultsList:
    return loader.compute_defaults_list(CONFIG_NAME, list(words), RunMode.RUN)


def _points(words: Sequence[str], found: list[str]) -> Iterator[list[str]]:
    """Give the words of each point of a sweep, of a plain run its one; words that cannot be read are noted."""
    parser = OverridesParser.create()
    choices: list[list[str]] = []
    for word in words:
        try:
            (override,) = parser.parse_overrides([word])
        except OverrideParseException as error:
            found.append(explain(error))
            continue
        if told := _unfit(override):
            found.append(told)
            continue
        if not override.is_sweep_override():
            choices.append([word])
        elif override.is_discrete_sweep():  # of an interval the sweeper alone knows what it will try
            start = word.partition("=")[0]
            choices.append([f"{start}={value}" for value in override.sweep_string_iterator()])
    yield from (list(point) for point in itertools.islice(itertools.product(*choices), POINTS))


def _unfit(override: Override) -> str:
    """Say what Hydra does not say well about the choice of an option; empty where nothing is wrong."""
    group, word = override.key_or_group, override.input_line
    if group not in GROUPS or override.is_delete() or override.is_sweep_override():
        return ""
    value, several = override.value(), GROUPS[group].several
    if value is None or value == "":
        return f"{word}: {f'none is chosen with {group}=[]' if several else f'{group} needs one of {_options(group)}'}"
    if isinstance(value, list) and not several:
        return f"{word}: {group} takes one option, of {_options(group)}"
    return ""


def _options(group: str) -> str:
    return ", ".join(components(group))


def _problems(loader: ConfigLoader, words: list[str]) -> Iterator[str]:
    """Tell everything that is wrong with the words of one run."""
    for _ in range(ROUNDS):
        try:
            defaults = _defaults(loader, words)
            break
        except REFUSALS as error:
            problem, repaired = refused(loader, error, words)
            yield line(problem, lambda _: "")  # its place is known already
            if repaired is None:
                return
            words = repaired
    else:
        return
    known = origins(loader, defaults.defaults, words)
    config = OmegaConf.structured(RunConfig)
    for package, schema in known.schemas.items():
        if package:
            OmegaConf.update(config, package, OmegaConf.structured(schema))
    for setting in known.settings:
        wrong = _wrong(setting, known)
        if wrong:
            yield line(wrong, known.where)
        else:
            OmegaConf.update(config, setting.key, setting.value, merge=True)
    rest = list(problems(config))
    keys = [key for problem in rest for key in problem.keys]
    for problem in (*rest, *plan_problems(config, keys)):
        yield line(problem, known.where)


def _wrong(setting: Setting, known: Origins) -> Problem | None:
    """Say what is wrong with one setting: its key, its type, or the way it is written."""
    first, *rest = setting.key.split(".")
    names = {field.name: field for field in fields(RunConfig)}
    if first in MISPLACED:
        return Problem(MISPLACED[first], where=setting.where)
    if first not in GROUPS:
        return _field(setting, RunConfig, names, [first, *rest], [])
    package = ".".join([first, *rest[:1]]) if GROUPS[first].several else first
    below = rest[1:] if GROUPS[first].several else rest
    options = [name.partition(".")[2] for name in known.schemas if name.startswith(f"{first}.")]
    if GROUPS[first].several and rest and rest[0] not in options:
        return Problem(unknown_key(package, options), where=setting.where)
    if not below:
        return _whole_group(setting, package)
    schema = known.schemas.get(package)
    if schema is None:  # the option does not exist, which is told already
        return None
    return _field(setting, schema, {field.name: field for field in fields(schema)}, below, package.split("."))


def _field(
    setting: Setting, schema: type, names: Mapping[str, Field], parts: Sequence[str], above: Sequence[str]
) -> Problem | None:
    """Look at a setting whose key is `parts` below `above`, where `schema` with its fields `names` stands."""
    first, *below = parts
    if first not in names:
        place = ".".join([*above, first])
        return Problem(unknown_key(place, names, option_name(schema)), (place,), setting.where)
    inner = names[first].type.base
    if below and isinstance(inner, type) and dataclasses.is_dataclass(inner):
        return _field(setting, inner, {field.name: field for field in fields(inner)}, below, [*above, first])
    return _value(setting, names[first], below)


def _whole_group(setting: Setting, package: str) -> Problem | None:
    """A group is chosen in a defaults list; an empty dict sets nothing."""
    if setting.value in ({}, "???"):
        return None
    group, value = package.partition(".")[0], setting.value
    told = f"{setting.key}={value} chooses nothing here: in a file write '- override /{group}: {value}' in its defaults"
    if group != package:
        told = f"{setting.key} holds the settings of an option, not {value}: options are chosen with {group}=[…]"
    return Problem(told, (setting.key,), setting.where)


def _value(setting: Setting, field: Field, below: Sequence[str]) -> Problem | None:
    if below and field.type.base is not dict:
        return Problem(unknown_key(setting.key, []), (setting.key,), setting.where)
    if setting.adds and not below:
        told = f"'{setting.key}' is there already: leave out the +, {setting.key}={setting.value}"
        return Problem(told, (setting.key,), setting.where)
    if not below and not field.has_type(setting.value):
        return Problem(out_of_range(setting.key, setting.value, field.type), (setting.key,), setting.where)
    return None
