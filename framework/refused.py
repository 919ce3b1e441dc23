"""Why Hydra gives no defaults list: the option, group or word that it refused, in one sentence with its place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from framework.check import Problem
from framework.component import GROUPS
from framework.errors import unknown
from framework.origin import source_lines
from framework.plugins import components

ENTRY = re.compile(r"\s*-\s+(?:(?:override\s+)?/?(?P<group>[\w/@]+)\s*:\s*)?(?P<options>.+?)\s*(?:#.*)?")
"""An entry of a defaults list."""


def refused(loader: ConfigLoader, error: Exception, words: list[str]) -> tuple[Problem, list[str] | None]:
    """Say why there is no defaults list, and return words with which there may be one."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.strip("/").rpartition("/")
        valid = components(group) if group in GROUPS else loader.get_group_options(group)
        told = unknown(group or "config", option, {*valid, *(error.options or ())})
        culprit = _word(words, group, option)
        if culprit:
            return Problem(told, where=culprit), [word for word in words if word != culprit]
        place = _line_of(loader, error, group, option, words)
        if group in GROUPS:  # the command line wins over the file, so the rest can be looked at
            first = next(iter(components(group)))
            return Problem(told, where=place), [*words, f"{group}=[]" if GROUPS[group].several else f"{group}={first}"]
        return Problem(told, where=place), None
    override = re.search(r"(?:Could not (?:override|append|delete)|Multiple values for) '?([\w./@]+)", text)
    override = override or re.match(r"([\w./@]+) appears more than once", text)
    if override:
        name = override.group(1).rstrip(".").partition("@")[0].lstrip("/")
        culprit = next((word for word in words if re.match(rf"[+~]*{re.escape(name)}(@|=|$)", word)), "")
        if name not in GROUPS:
            told = unknown("config group", name, [*GROUPS, "+experiment"])
        elif culprit:
            told = f"{name} has an option already: change it with {name}={culprit.partition('=')[2]}"
        else:
            told = f"{name} has an option already: change it with '- override /{name}: …'"
        if culprit:
            return Problem(told, where=culprit), [word for word in words if word != culprit]
        return Problem(told, where=_line_of(loader, error, name, "", words)), None
    return Problem(explain(error)), None


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
            if (not option or option in chosen) and (entry["group"] or config_path.rpartition("/")[0]) == group:
                return f"{name}:{number}"
            if entry["group"] is None:
                files += [f"{config_path.rpartition('/')[0]}/{base}" for base in chosen if base and base not in files]
    return named.group(1) if named else ""


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
