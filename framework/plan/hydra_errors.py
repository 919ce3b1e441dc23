"""Why Hydra gives no defaults list: the option, group or word that it refused, in one sentence with its place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.errors import MissingConfigException

from framework.api.component import GROUPS
from framework.config.problem import Problem
from framework.config.sources import explain, source_lines
from framework.hooks.session import current
from framework.util.errors import unknown

ENTRY = re.compile(r"\s*-\s+(?:(?:(?:override|optional)\s+)*/?(?P<group>[\w/@.]+)\s*:\s*)?(?P<options>.+?)\s*(?:#.*)?")
"""An entry of a defaults list."""
LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""Launchers that are distributions of their own, and the extra that brings each."""
GLOBAL = "its keys belong to no group: the first line of an experiment is '# @package _global_'"


def refused(loader: ConfigLoader, error: Exception, words: list[str]) -> tuple[Problem, list[str] | None]:
    """Say why there is no defaults list, and return words with which there may be one."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_option(loader, error, error.missing_cfg_file, words)
    override = re.search(r"(?:Could not (?:override|append|delete)|Multiple values for) '?([\w./@]+)", text)
    override = override or re.match(r"([\w./@]+) appears more than once", text)
    if override:
        return _no_such_group(loader, error, override.group(1).rstrip(".").partition("@")[0].lstrip("/"), words)
    if isinstance(error, AssertionError):  # Hydra's way to say so
        file = next((word for word in words if re.match(r"\++experiment=", word)), "")
        return Problem("in a defaults list the entries with 'override' stand after all others", where=file), None
    return Problem(explain(error)), None


def _no_such_option(
    loader: ConfigLoader, error: MissingConfigException, missing: str, words: list[str]
) -> tuple[Problem, list[str] | None]:
    group, _, option = missing.strip("/").rpartition("/")
    if (absolute := group.removeprefix("experiment/")) in GROUPS and absolute != group:
        told = f"write it as '- override /{absolute}: {option}'"
        return Problem(told, where=_line_of(loader, error, absolute, option, words)), None
    valid = current().plugins.components(group) if group in GROUPS else loader.get_group_options(group)
    told = unknown(group or "config", option, {*valid, *(error.options or ())})
    if group == "hydra/launcher" and (extra := LAUNCHERS.get(option)):
        told = f"hydra/launcher={option} needs hydra-{extra}-launcher: pip install 'framework[{extra}]'"
    if culprit := _word(words, group, option):
        return Problem(told, where=culprit), [word for word in words if word != culprit]
    problem = Problem(told, where=_line_of(loader, error, group, option, words))
    if group not in GROUPS:
        return problem, None
    # The command line wins over the file, so the rest can be looked at.
    first = next(iter(current().plugins.components(group)))
    return problem, [*words, f"{group}=[]" if GROUPS[group].several else f"{group}={first}"]


def _no_such_group(
    loader: ConfigLoader, error: Exception, name: str, words: list[str]
) -> tuple[Problem, list[str] | None]:
    absolute = name.partition("/")[2]
    if absolute in GROUPS:  # `override adapter: …` in an experiment
        told = f"write it with a slash: '- override /{absolute}: …'"
        return Problem(told, where=_line_of(loader, error, absolute, "", words)), None
    culprit = next((word for word in words if re.match(rf"[+~]*{re.escape(name)}(@|=|$)", word)), "")
    if name not in GROUPS:
        told = unknown("config group", name, [*GROUPS, "+experiment"])
    elif culprit:
        told = f"{name} has an option already: change it with {name}={culprit.partition('=')[2]}"
    else:
        told = f"{name} has an option already: change it with '- override /{name}: …'"
    if culprit:
        return Problem(told, where=culprit), [word for word in words if word != culprit]
    place = _line_of(loader, error, name, "", words)
    if name in GROUPS and not _is_global(loader, words):
        told = GLOBAL
    return Problem(told, where=place), None


def _is_global(loader: ConfigLoader, words: Sequence[str]) -> bool:
    """Whether every experiment of the command line begins as one does."""
    names = [word.partition("=")[2] for word in words if re.match(r"\++experiment=", word)]
    texts = ["".join(text for _, _, text in source_lines(loader, f"experiment/{name}")) for name in names]
    return all("@package _global_" in text for text in texts)


def _word(words: Sequence[str], group: str, option: str) -> str:
    """Return the word of the command line that chooses an option; empty where a file does."""
    for word in words:
        key, _, value = word.partition("=")
        if key.lstrip("+~").partition("@")[0] == group and option in re.split(r"[\[\],\s'\"]+", value):
            return word
    return ""


def _line_of(loader: ConfigLoader, error: Exception, group: str, option: str, words: Sequence[str]) -> str:
    """Return the line of the file that chooses an option of a group, whichever where `option` is empty."""
    named = re.search(r"In '([^']+)'", str(error))
    experiments = [word.partition("=")[2] for word in words if re.match(r"\++experiment=", word)]
    files = [*(f"experiment/{name}" for name in experiments), *([named.group(1)] if named else [])]
    for config_path in files:  # grows while it is read, by the files that a file stands on
        for name, number, text in source_lines(loader, config_path):
            entry = ENTRY.fullmatch(text)
            if entry is None:
                continue
            chosen = re.split(r"[\[\],\s'\"]+", entry["options"])
            if (not option or option in chosen) and _group(entry, config_path) == group:
                return f"{name}:{number}"
            if entry["group"] is None:
                files += [f"{config_path.rpartition('/')[0]}/{base}" for base in chosen if base and base not in files]
    return named.group(1) if named else ""


def _group(entry: re.Match[str], config_path: str) -> str:
    """Return the group that an entry of a defaults list chooses from: its own, or that of the file."""
    return (entry["group"] or config_path.rpartition("/")[0]).partition("@")[0]
