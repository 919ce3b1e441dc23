"""Hydra refused to compose: say everything that is wrong, not only what it met first.

The config is put together once more, by the same files in the same order, but what does not fit is noted and passed
over. So one message names every unknown option, unknown key and wrong type, and what is wrong with the rest besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.api.component import GROUPS
from framework.api.fields import Field, as_text, fields
from framework.api.schema import RunConfig
from framework.config.check import option_name, out_of_range, problems, unknown_key
from framework.config.compose import compose, config_loader
from framework.config.problem import Problem
from framework.config.sources import REFUSALS, Origins, Setting, defaults_list, explain, line, origins, read_origins
from framework.plan.hydra_errors import GLOBAL, refused
from framework.plan.make import make_plan, plan_problems
from framework.plan.sweep_check import intervals, option_names, params, points, read_sweeper, sweeper_problems
from framework.util.errors import FrameworkError

ROUNDS = 16
"""How often the defaults list is tried again without a word that it refused."""


def diagnose(error: Exception, words: Sequence[str]) -> FrameworkError:
    """Return what to tell about an error that Hydra raised while it composed `words`."""
    if isinstance(error, FrameworkError):
        return error
    try:
        lines = mistakes(words)
    except Exception:  # noqa: BLE001 - what Hydra said is worth more than what went wrong with saying it better
        lines = []
    return FrameworkError("\n".join(lines) if lines else explain(error))


def mistakes(words: Sequence[str]) -> list[str]:
    """Return a line for everything that is wrong with the words of a command line, those of every point of a sweep."""
    found: list[str] = []
    with config_loader() as loader:
        for point in points(loader, words, found):
            found += _problems(loader, point)
    return list(dict.fromkeys(found))


def check_sweep(words: Sequence[str]) -> None:
    """Check the points of a sweep before Hydra makes its folder: a mistake in the last one is told now.

    Raises:
        FrameworkError: everything that is wrong with the points that hold each value once, and some more combinations.
    """
    found: list[str] = []
    with config_loader() as loader:
        sweeper = read_sweeper(loader, words)
        words = [*words, *(params(sweeper) if sweeper else ())]
        chosen, typed = list(points(loader, words, found)), intervals(loader, words)
        if sweeper:
            where = read_origins(loader, chosen[0]).where
            found += [line(problem, where) for problem in sweeper_problems(loader, sweeper, words)]
    for point in chosen:
        try:
            make_plan(compose(point), run_dir=Path.cwd(), overrides=tuple(point))
        except Exception as error:
            if not isinstance(error, (FrameworkError, *REFUSALS)):
                raise
            found += str(diagnose(error, point)).splitlines()
    if found:
        raise FrameworkError("\n".join(_once([_as_typed(each, typed) for each in found])))


def _as_typed(line: str, typed: Mapping[str, str]) -> str:
    """Put the interval that was typed in the place of an end of it."""
    where, colon, what = line.partition(": ")
    return f"{typed[where]}{colon}{what}" if where in typed and colon else line


def _once(lines: Sequence[str]) -> list[str]:
    """Leave out what is told already: of a key that is unknown it does not matter which value it was given."""
    told: dict[str, str] = {}
    for each in lines:
        what = each.partition(": ")[2]
        told.setdefault(what if what.startswith("unknown key") else each, each)
    return list(told.values())


def _problems(loader: ConfigLoader, words: list[str]) -> Iterator[str]:
    """Tell everything that is wrong with the words of one run."""
    for _ in range(ROUNDS):
        try:
            defaults = defaults_list(loader, words)
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
        if told := _misplaced(package, known.options[package], words):
            yield told
        elif package:
            OmegaConf.update(config, package, OmegaConf.structured(schema))
    bare = set()
    for setting in known.settings:
        if wrong := _wrong(setting, known) or _merge(config, setting):
            yield line(wrong, known.where)
            bare |= {setting.preset} if setting.preset not in known.schemas else set()
    yield from (line(wrong, known.where) for wrong in _of_hydra(known))
    rest = [problem for problem in problems(config) if problem.text.partition(" has no value")[0] not in bare]
    keys = [key for problem in rest for key in problem.keys]
    for problem in (*rest, *plan_problems(config, keys)):
        yield line(problem, known.where)


def _of_hydra(known: Origins) -> Iterator[Problem]:
    """Give what is wrong with settings of the sweeper and of the launcher."""
    for setting in known.hydra:
        parts = setting.key.split(".")
        above, below = parts[:2], parts[2:]
        schema = known.hydra_schemas.get(".".join(above))
        if schema and below:
            names = {field.name: field for field in fields(schema)}
            if wrong := _field(setting, schema, names, below, above):
                yield wrong


def _merge(config: DictConfig, setting: Setting) -> Problem | None:
    """Set a value that has the right type; say so where it cannot be read all the same: half an interpolation."""
    try:
        OmegaConf.update(config, setting.key, setting.value, merge=True)
    except OmegaConfBaseException as error:
        return Problem(f"{setting.key}={setting.value} cannot be read: {explain(error)}", where=setting.where)
    return None


def _misplaced(package: str, option: str, words: Sequence[str]) -> str:
    """Say that an option stands where none of its group can; empty where it can."""
    group = option.partition("/")[0]
    if group not in GROUPS or (package == group and not GROUPS[group].several):
        return ""
    parent, _, name = package.rpartition(".")
    if GROUPS[group].several and parent == group and name:
        return ""
    word = next((word for word in words if f"@{package}=" in word), "")
    right = f"{group}@{group}.NAME" if GROUPS[group].several else group
    return f"{word or option}: an option of {group} cannot stand at '{package}': write {right}=…"


def _wrong(setting: Setting, known: Origins) -> Problem | None:
    """Say what is wrong with one setting: its key, its type, or the way it is written."""
    first, *rest = setting.key.split(".")
    if setting.fault or first == "experiment":
        return Problem(setting.fault or GLOBAL, where=setting.where)
    if first in GROUPS:
        return _in_group(setting, known, first, rest)
    return _field(setting, RunConfig, {field.name: field for field in fields(RunConfig)}, [first, *rest], [])


def _in_group(setting: Setting, known: Origins, group: str, rest: Sequence[str]) -> Problem | None:
    """Look at a setting below a group."""
    several = GROUPS[group].several
    package, below = (".".join([group, *rest[:1]]), rest[1:]) if several else (group, rest)
    options = [name.partition(".")[2] for name in known.schemas if name.startswith(f"{group}.")]
    schema = known.schemas.get(package)
    if schema is None and setting.preset == group:
        return _baseless(setting, group)
    if several and rest and rest[0] not in options:
        return Problem(unknown_key(package, options), where=setting.where)
    if not below:
        return _whole_group(setting, package)
    if schema is None:  # the option does not exist, which is told already
        return None
    if setting.preset == group and below[0] == group:
        return Problem(f"the keys of a preset stand at its top, not below '{group}:'", where=setting.where)
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


def _baseless(setting: Setting, group: str) -> Problem:
    """Say what a preset lacks that stands on no option."""
    told = f"{group} is built on no option: the file begins with a defaults list of one of {option_names(group)}"
    if GROUPS[group].several:
        told += f", and its first line is '# @package {group}.NAME'"
    return Problem(told, where=setting.where.rpartition(":")[0])


def _whole_group(setting: Setting, package: str) -> Problem | None:
    """A group is chosen in a defaults list; an empty dict sets nothing."""
    if setting.value in ({}, "???"):
        return None
    if setting.value is None:
        return Problem(f"'{setting.key}:' has no keys below it: take the line out", where=setting.where)
    group, value = package.partition(".")[0], as_text(setting.value)
    told = f"{setting.key}={value} chooses nothing here: in a file write '- override /{group}: {value}' in its defaults"
    if group != package:
        told = f"{setting.key} holds the settings of an option, not {value}: options are chosen with {group}=[…]"
    return Problem(told, (setting.key,), setting.where)


def _in_items(setting: Setting, field: Field, below: Sequence[str]) -> Problem | None:
    """Look at the groups of settings that a list or a dict of them holds."""
    schema = field.type.items.base if field.type.items else None
    if not (isinstance(schema, type) and dataclasses.is_dataclass(schema)):
        return None
    known = {each.name: each for each in fields(schema)}
    parts = [
        (f"{setting.key}[{at}].{name}", name, part)
        for at, item in _groups(setting.value)
        for name, part in item.items()
    ]
    if len(below) > 1:
        parts = [(setting.key, below[1], setting.value)]
    for place, name, part in parts:
        if name not in known:
            return Problem(unknown_key(place, known), (place,), setting.where)
        if not known[name].accepts(part):
            return Problem(out_of_range(place, part, known[name].type), (place,), setting.where)
    return None


def _groups(value: Any) -> list[tuple[int, dict[str, Any]]]:
    return [(at, item) for at, item in enumerate(value if isinstance(value, list) else []) if isinstance(item, dict)]


def _value(setting: Setting, field: Field, below: Sequence[str]) -> Problem | None:
    if wrong := _in_items(setting, field, below):
        return wrong
    if below and field.type.base is not dict:
        return Problem(unknown_key(setting.key, []), (setting.key,), setting.where)
    if setting.adds and not below:
        told = f"'{setting.key}' is there already: leave out the +, {setting.key}={setting.value}"
        return Problem(told, (setting.key,), setting.where)
    if not below and not field.has_type(setting.value):
        return Problem(out_of_range(setting.key, setting.value, field.type), (setting.key,), setting.where)
    return None
