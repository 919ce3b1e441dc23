"""The arguments of a command line before Hydra reads them: what is added, taken out, or refused at once."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from framework.api.component import GROUPS
from framework.api.run_folder import ENVIRONMENT, RunFolder
from framework.api.schema import RunConfig
from framework.api.text.overrides import override_key
from framework.config.compose import EXPERIMENT, add_folder, announce_folders
from framework.config.hydra_settings import INSTEAD
from framework.config.limits import check_words
from framework.config.sources import explain
from framework.config.translation import read_config
from framework.hooks.local_file import load_file
from framework.hooks.session import Session, current
from framework.plan.load import load_plan
from framework.rundir.environment import Environment
from framework.rundir.folder import saved_overrides
from framework.rundir.store import fetch, mirror
from framework.util.command import CommandParser, this_program
from framework.util.errors import FrameworkError, is_url, unknown
from framework.util.redact import hide

QUICKSTART = "+experiment=quickstart"
INSTEAD_OF_COMMANDS = {
    "plan": "stages=[plan] …", "preprocess": "stages=[data] …", "evaluate": "stages=[evaluate,report] run_dir=RUN",
    "eval": "stages=[evaluate,report] run_dir=RUN", "report": "stages=[report] run_dir=RUN",
    "merge": "stages=[export] run_dir=RUN exporter=[merged]", "push": "stages=[export] run_dir=RUN exporter=[push]",
    "sweep": "-m KEY=VALUE,VALUE …", "inference": "chat RUN", "help": "--help", "version": "--version",
    "list": "runs", "ls": "runs", "continue": "resume", "config": "--cfg job",
    **dict.fromkeys(("delete", "rm", "clean", "prune"), "remove RUN"),
}  # fmt: skip
"""Words that people type as commands, and the arguments that do it."""
YAML = {".yaml", ".yml"}
USAGE = "python -m framework [COMMAND] [OPTIONS] [KEY=VALUE…]"


def readable(words: Sequence[str]) -> list[str]:
    """Return the words of a command line.

    Raises:
        FrameworkError: an argument is not text, or could not be read in bounded time.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise FrameworkError(f"{word!a}: the argument is not UTF-8 text") from error
    check_words(words)
    return list(words)


def is_command(word: str) -> bool:
    """Whether the first word is a command: a plain name, no `key=value`, no `--option`, no `+key`."""
    return re.fullmatch(r"[A-Za-z][\w-]*", word) is not None


def complete_overrides(words: list[str]) -> list[str]:
    """Check the words of a command line, add what they leave out, and load what they need before a config is composed.

    Raises:
        FrameworkError: a word is wrong, or a plugin's file cannot be loaded.
    """
    reject_duplicate_overrides(words)
    words = complete(words)
    load_surroundings(current(), words)  # commands of plugins call this, by framework.api.program
    return words


def load_surroundings(session: Session, words: Sequence[str]) -> None:
    """Load what has to be known before a config is composed: folders of options, and plugins of one file.

    Raises:
        FrameworkError: an option is unknown, or a file cannot be loaded.
    """
    check_options(words)
    restore_folders(session, words)
    load_plugins(session, words)
    announce_folders(session)


def complete(words: list[str]) -> list[str]:
    """Add what the command line leaves out.

    The folder of an earlier run adds the overrides that made it. If no experiment, model or data is chosen, the run is
    the quickstart.
    """
    if "--hydra-help" in words:
        return words
    keys = {override_key(word) for word in words}
    run_dir = next((word.partition("=")[2].strip("'\"") for word in words if override_key(word) == "run_dir"), None)
    if run_dir and is_url(run_dir):
        fetch(run_dir)
    earlier = [word for word in saved_overrides(run_dir) if override_key(word) not in keys] if run_dir else []
    earlier = without_replaced(earlier, words)
    if not earlier and not keys & {"experiment", "model", "data"}:
        earlier = [QUICKSTART]
    # Right before the first override: the command line's parser takes overrides only in one piece.
    index = next((index for index, word in enumerate(words) if re.match(r"[^-].*=|~", word)), 0)
    return [*words[:index], *earlier, *words[index:]]


def without_replaced(earlier: Sequence[str], words: Sequence[str]) -> list[str]:
    """Leave out of a run's overrides the settings of options that new words do not choose again, and say which.

    `exporter=[adapter]` takes `exporter.gguf.quantizations=[…]` with it, which nothing would read. Nothing is left
    out if the new words choose a preset, since it may be built on any option.
    """
    plugins = current().plugins
    chosen = {
        override_key(word): set(re.findall(r"[\w-]+", word.partition("=")[2]))
        for word in words
        if override_key(word) in GROUPS and GROUPS[override_key(word)].several
    }
    remaining: list[str] = []
    dropped: list[str] = []
    for word in earlier:
        group, _, below = override_key(word).partition(".")
        is_known = group in chosen and chosen[group] <= plugins.components(group).keys()
        is_dropped = is_known and bool(below) and below.partition(".")[0] not in chosen[group]
        (dropped if is_dropped else remaining).append(word)
    if dropped:
        option = {override_key(word).partition(".")[0] for word in dropped}
        choices = " and ".join(word for word in words if override_key(word) in option)
        print(f"{choices} leaves out of the run's settings: {', '.join(map(hide, dropped))}", file=sys.stderr)
    return remaining


def take_config_dir(session: Session, words: Sequence[str]) -> list[str]:
    """Take Hydra's `--config-dir FOLDER` out of the arguments: that folder is treated like `./conf`.

    Raises:
        FrameworkError: there is no such folder.
    """
    parser = CommandParser("", usage=USAGE, add_help=False)
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    parsed, remaining = parser.parse_known_args(words)
    for folder in parsed.config_dir:
        add_folder(session, folder)
    return remaining


def restore_folders(session: Session, words: Sequence[str]) -> None:
    """Search the `--config-dir` folders of the run in `run_dir` again, as far as they still exist.

    Raises:
        FrameworkError: the folder's environment.json is not valid.
    """
    for word in words:
        if override_key(word) != "run_dir":
            continue
        run = RunFolder(mirror(word.partition("=")[2].strip("'\"")))
        environment = run.read(Environment, ENVIRONMENT)
        for folder in environment.config_dirs if environment else ():
            if Path(folder).is_dir():
                add_folder(session, folder)


def load_plugins(session: Session, words: Sequence[str]) -> None:
    """Load the files of `plugins=[./mine.py]`: what they register has to be known before anything is composed.

    Raises:
        FrameworkError: the list cannot be read, or a file cannot be loaded.
    """
    for word in words:
        # Before Hydra: what the files register has to be among its options.
        if "=" in word and override_key(word) == "plugins":
            value = word.partition("=")[2]
            if not re.fullmatch(r"\[.*\]", value, re.DOTALL):
                raise FrameworkError(f"{word}: plugins is a list of files: plugins=[{value or './mine.py'}]")
            try:
                parsed = OverridesParser.create().parse_override(word)
            except OverrideParseException as error:
                raise FrameworkError(explain(error)) from error
            if parsed.is_sweep_override():
                raise FrameworkError(f"{word}: plugins cannot be swept over: they are loaded once")
            for path in parsed.value():
                load_file(session.plugins, str(path))


def reject_duplicate_overrides(words: Sequence[str]) -> None:
    """Refuse a key that is set twice, or an option that is named twice: Hydra would silently use one of them.

    Raises:
        FrameworkError: both words.
    """
    word_by_key: dict[str, str] = {}
    for word in words:
        if (
            re.match(r"[^-].*=", word, re.DOTALL)
            and (previous := word_by_key.setdefault(override_key(word), word)) is not word
        ):
            raise FrameworkError(f"{previous} and {word} set the same key: give it once")
        key, _, value = word.partition("=")
        is_list = key in GROUPS and re.fullmatch(r"\[[^\[\]]*\]", value)
        names = [name.strip() for name in value[1:-1].split(",")] if is_list else []
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise FrameworkError(f"{word} names {twice} twice: give it once")


def check_options(words: Sequence[str]) -> None:
    """Refuse, in one line, an option that Hydra does not have: its own parser would print half a page of usage.

    Raises:
        FrameworkError: the option, and the options that exist.
    """
    parser = CommandParser("", usage=USAGE, parents=[get_args_parser()], add_help=False, allow_abbrev=True)
    for word in words:
        if "=" in word and (refusal := _refusal(word)):
            raise FrameworkError(f"{word}: {refusal}")
    parsed, remaining = parser.parse_known_args(list(words))
    if parsed.package:
        raise FrameworkError(f"--package={parsed.package} is not used here: the config has one place")
    if parsed.config_path or parsed.config_name:
        raise FrameworkError(
            f"{parsed.config_path or parsed.config_name}: --config-path and --config-name are not used here: "
            "--config-dir FOLDER adds a folder of options, and +experiment=NAME chooses an experiment in it"
        )
    if parsed.shell_completion:
        raise FrameworkError("--shell-completion comes first, with install=bash or uninstall=bash after it")
    commands = current().plugins.commands()
    for word in parsed.overrides:
        if Path(word).suffix in YAML and "=" not in word:
            raise FrameworkError(describe_file(Path(word))[0])
        if "=" not in word and (word in commands or advice_for(word)):
            message = f"'{word}' comes after an override: put the command first, `{this_program()} {word} …`"
            raise FrameworkError(message if word in commands else advice_for(word))
    settings = {each.name for each in dataclasses.fields(RunConfig)}
    for word in remaining:
        setting = word.lstrip("-")
        key, equals, value = setting.partition("=")
        if setting != word and key.partition(".")[0] in settings:
            typed = hide(f"{key}={value if equals else 'VALUE'}")
            raise FrameworkError(f"'{hide(word)}': a setting has no dashes: {typed}")
        if "=" in word and setting == word:
            raise FrameworkError(f"'{word}' comes after an option: put options such as -m before the first override")
        raise FrameworkError(advice_for(word) or unknown("option", word, parser.option_names))


def translated(words: Sequence[str]) -> str:
    """Return the command for a config of another tool, if that is all that was typed; empty for other words.

    Raises:
        FrameworkError: the file cannot be read, or the check refuses the command.
    """
    if len(words) != 1 or "=" in words[0] or Path(words[0]).suffix not in YAML:
        return ""
    text, accepted = describe_file(Path(words[0]))
    if not accepted:
        raise FrameworkError(text)
    return text


def describe_file(path: Path) -> tuple[str, bool]:
    """Say what to type instead of a YAML file: for a config of another tool, the command of the same run here.

    Returns:
        the text, and whether there is a command that the check accepts.

    Raises:
        FrameworkError: it cannot be read.
    """
    translation = read_config(path)
    if translation is None:
        advice = (
            f"{path} is a file, not an override: make it an experiment, ./conf/experiment/{path.stem}.yaml, with "
            f"'# @package _global_' as its first line, and choose it with +experiment={path.stem}"
        )
        return advice, False
    words = translation.words()
    try:
        load_plan(words)
        refusal = ""
    except FrameworkError as error:
        refusal = str(error)
    state = "with what the check refuses below it" if refusal else "composed and checked"
    lines = [f"{path} is a config of {translation.tool}. The command for such a run here, {state}:"]
    lines.append(f"  {this_program()} {shlex.join(words)}")
    lines += [f"  refused: {line}" for line in refusal.splitlines()]
    lines += ["not in it:"] if translation.remarks else []
    lines += [f"  {name}: {why}" for name, why in translation.remarks.items()]
    return "\n".join(lines), not refusal


def advice_for(word: str) -> str:
    """Say what to type instead of a word that names a group, the experiments, or a run; empty for any other word."""
    if word in {"train", "run", "start", "finetune", "fine-tune"}:
        return (
            f"'{word}' is not a command. To train, give settings without a command: `{this_program()} +experiment=NAME`"
        )
    if word in INSTEAD_OF_COMMANDS:
        return f"'{word}' is not a command: type `{this_program()} {INSTEAD_OF_COMMANDS[word]}`"
    name = word.removesuffix("s") if word.removesuffix("s") == EXPERIMENT else word
    if name != EXPERIMENT and name not in GROUPS:
        return ""
    subject = "a command; choose an experiment with +experiment=NAME" if name == EXPERIMENT else "a command but a group"
    if name == EXPERIMENT:
        command, argument, listing = f"{this_program()} experiments", "NAME", "them"
    else:
        command, argument, listing = f"{this_program()} plugins {name}", "OPTION", "its options"
    return f"'{word}' is not {subject}. `{command}` lists {listing}, `{command} {argument}` describes one"


def _refusal(word: str) -> str:
    """Say why a setting of Hydra is refused; empty if it is not."""
    name = override_key(word)
    section = name.partition(".")[2].partition(".")[0]
    if word.startswith(("+hydra.", "++hydra.")) and section not in HydraConf.__dataclass_fields__:
        return unknown("setting of Hydra", section, HydraConf.__dataclass_fields__)
    return INSTEAD.get(name, "")


def chooses_preset(session: Session, words: Sequence[str]) -> bool:
    """Whether an override chooses a preset, which is not an option of its group itself."""
    chosen = {
        override_key(word): word.partition("=")[2].strip("[]").split(",")
        for word in words
        if override_key(word) in GROUPS
    }
    return any(set(names) - session.plugins.components(group).keys() - {""} for group, names in chosen.items())
