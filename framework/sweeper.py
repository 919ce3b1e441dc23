"""The sweeper of a sweep, as the settings below `hydra.sweeper` say it: what a file sweeps over, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig

from framework.config.check import problems_below
from framework.config.compose import CONFIG_NAME
from framework.config.problem import Problem
from framework.config.sources import REFUSALS

GROUP = "hydra/sweeper"


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
