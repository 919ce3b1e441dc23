"""What a sweep is checked by before it runs: the trials that show most, the sweeper's settings, its intervals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig

from framework.api.component import GROUPS
from framework.config.check import problems_below
from framework.config.compose import CONFIG_NAME
from framework.config.problem import Problem
from framework.config.sources import REFUSALS, explain
from framework.hooks.session import current

POINTS = 32
"""How many combinations of a sweep's values are looked at, besides the points that hold each value once."""
VALUES = 256
"""How many values of one key are looked at."""
GROUP = "hydra/sweeper"


def points(loader: ConfigLoader, words: Sequence[str], found: list[str]) -> Iterator[list[str]]:
    """Give the words of points of a sweep, of a plain run its one; words that cannot be read are noted."""
    parser = OverridesParser.create(loader)
    choices: list[list[str]] = []
    combined: list[list[str]] = []  # all ends of intervals at once are a corner that hardly any point comes near
    for word in words:
        if word.startswith("-"):
            continue
        try:
            (override,) = parser.parse_overrides([word])
        except OverrideParseException as error:
            found.append(explain(error))
            continue
        if told := _unfit(override):
            found.append(told)
            continue
        swept = override.is_sweep_override()
        choices.append([f"{word.partition('=')[0]}={value}" for value in _values(override)] if swept else [word])
        combined.append(choices[-1] if override.is_discrete_sweep() else choices[-1][:1])
    longest = max(map(len, choices), default=1)
    each_value = (tuple(choice[at % len(choice)] for choice in choices) for at in range(longest))
    some = itertools.islice(itertools.product(*combined), POINTS)
    yield from (list(point) for point in dict.fromkeys(itertools.chain(each_value, some)))


def intervals(loader: ConfigLoader, words: Sequence[str]) -> dict[str, str]:
    """Return each interval, as it was typed, by the words of its ends, which stand for it among the points."""
    parser = OverridesParser.create(loader)
    found: dict[str, str] = {}
    for word in words:
        try:
            (override,) = parser.parse_overrides([word])
        except OverrideParseException:  # told with the points
            continue
        if override.is_sweep_override() and isinstance(override.value(), IntervalSweep):
            found |= {f"{word.partition('=')[0]}={end}": word for end in _values(override)}
    return found


def _values(override: Override) -> list[str]:
    """Return the values of a key that is swept over; of an interval its two ends."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return [repr(sweep.start), repr(sweep.end)]
    return list(itertools.islice(override.sweep_string_iterator(), VALUES))


def _unfit(override: Override) -> str:
    """Say what Hydra does not say well about the choice of an option; empty where nothing is wrong."""
    group, word = override.key_or_group, override.input_line
    if override.is_delete() and "." not in group and group not in GROUPS:
        return f"{word}: '{group}' is always there; change it with {group}=…"
    if group == "experiment" and not override.is_sweep_override() and not override.value():
        return f"{word}: name one, or leave it out"
    if group not in GROUPS or override.is_sweep_override():
        return ""
    value, several = override.value(), GROUPS[group].several
    if override.is_delete() or value is None or value == "":
        return f"{word}: {_none(group)}"
    if isinstance(value, list) and not several:
        return f"{word}: {group} takes one option, of {option_names(group)}"
    return ""


def _none(group: str) -> str:
    """Say how none of a group is chosen, or that one has to be."""
    return f"none is chosen with {group}=[]" if GROUPS[group].several else f"{group} needs one of {option_names(group)}"


def option_names(group: str) -> str:
    """Return the options of a group in one text."""
    return ", ".join(current().plugins.components(group))


def read_sweeper(loader: ConfigLoader, words: Sequence[str]) -> DictConfig | None:
    """Return `hydra.sweeper`; None where the words of a command line cannot be composed, which the points tell."""
    plain = [word for word in words if not word.startswith("-")]
    try:
        return loader.load_configuration(CONFIG_NAME, plain, RunMode.MULTIRUN).hydra.sweeper
    except REFUSALS:
        return None


def params(sweeper: DictConfig) -> list[str]:
    """Return what `hydra.sweeper.params` of a file sweeps over, as words."""
    return [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]


def sweeper_problems(loader: ConfigLoader, sweeper: DictConfig, words: Sequence[str]) -> Iterator[Problem]:
    """Give what is wrong with the settings of the sweeper, and the intervals that it cannot sweep over."""
    yield from problems_below(sweeper, "hydra.sweeper.")
    if sweeper.get("_target_") != BasicSweeperConf._target_:
        return
    parser = OverridesParser.create(loader)
    others = [f"{GROUP}={name}" for name in loader.get_group_options(GROUP) if name != "basic"]
    for word in words:
        try:
            (override,) = parser.parse_overrides([word])
        except OverrideParseException:  # told with the points
            continue
        sweep = override.value()
        if isinstance(sweep, IntervalSweep):
            values = f"{override.get_key_element()}={sweep.start!r},{sweep.end!r}"
            told = f"{word}: an interval has no end of values: give some, {values}, or choose {' or '.join(others)}"
            yield Problem(told, where=word)
