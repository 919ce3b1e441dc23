"""Settings of an experiment for an option that the run does not have: `evaluator=[]` switches off what it sets.

Hydra would refuse them, since nothing reads them. They are left out where whoever chose otherwise did so after the
experiment, on the command line or in an experiment that is built on it. An experiment that sets what neither it nor
anybody else chooses is still refused, and so is a name that no option has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from framework.api.component import GROUPS
from framework.api.text.overrides import override_key
from framework.config.compose import EXPERIMENT, config_loader, user_folders
from framework.config.sources import REFUSALS, defaults_list, value_sources
from framework.hooks.session import Session

SEVERAL = {name for name, group in GROUPS.items() if group.several}


# Hydra merges the file of an experiment before it reads which options are switched off and would refuse a key of one.
def unused(session: Session, words: Sequence[str]) -> frozenset[str]:
    """Return the options, `evaluator.prompts`, whose settings in the files of experiments are left out.

    Args:
        session: whose `unused` is what is left out so far; nothing is while this looks.
        words: the overrides of a command line.
    """
    keys = {override_key(word) for word in words}
    if EXPERIMENT not in keys or not (keys & SEVERAL or user_folders(session)):  # to read all files again takes time
        return frozenset()
    session.unused = frozenset()
    try:
        with config_loader() as loader:
            parsed = OverridesParser.create(loader).parse_overrides(list(words))
            # What a trial sweeps over differs from trial to trial.
            fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
            sources = value_sources(loader, defaults_list(loader, fixed).defaults, fixed)
    except REFUSALS:  # composing says what is wrong
        return frozenset()
    candidates = set()
    for setting in sources.settings:
        group, _, below = setting.key.partition(".")
        option, file = f"{group}.{below.partition('.')[0]}", setting.where.rpartition(":")[0]
        chosen_by = sources.choices.get(group, "")
        # A choice in the same file is not a switch: the file contradicts itself, which is refused.
        is_later = not chosen_by.startswith(f"{file}:") and (_is_experiment(chosen_by) or group in keys)
        if group in SEVERAL and option not in sources.schemas and _is_experiment(setting.where) and is_later:
            candidates.add(option)
    options = {f"{group}.{name}" for group in SEVERAL for name in session.plugins.components(group)}
    return frozenset(candidates & options)


def _is_experiment(where: str) -> bool:
    """Whether a place is a line in the file of an experiment."""
    return Path(where.rpartition(":")[0]).parent.name == EXPERIMENT
