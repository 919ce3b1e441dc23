"""The arguments of the command, `RUN_DIR [OVERRIDES…] [--both] …`, parsed and checked."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from framework.api.commands import check_twice
from framework.api.component import SPEAKERS, Component
from framework.api.errors import FrameworkError
from framework.api.registry import leave_out, registrations
from framework.api.text import unknown, usage
from framework_plugins.chat.config import ChatCommandConfig

USAGE = f"{usage(ChatCommandConfig)}; chat --help lists the options"
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Sampling:
    """How an answer is made: its longest length, and which token comes next.

    Attributes:
        max_new_tokens: tokens of an answer, at most.
        temperature: 0 takes the likeliest token each time; 1 draws as the model has it.
        top_p: draw among the likeliest tokens that have this much of the probability together.
        seed: of the draws; None: another one for each answer.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        run_dir: the folder of the run.
        overrides: settings that are to be others than in the run, `trainer.device=cpu`.
        talking: who answers at first; empty where nothing was said.
        speaker: the plugin's speaker that answers instead of the model; None: the model itself.
        word: what was given to that speaker, a file for example; may be empty.
        system: the system prompt; None: that of the run.
        as_json: one JSON object for each answer.
        sampling: how the answers are made.
    """

    run_dir: str
    overrides: tuple[str, ...]
    talking: tuple[str, ...]
    speaker: Component | None
    word: str
    system: str | None
    as_json: bool
    sampling: Sampling


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse as everything else does: in a line, without half a page of usage."""
        raise FrameworkError(f"{message.removeprefix('argument ')}. Usage: {USAGE}")


def read_options(arguments: Sequence[str]) -> Options:
    """Read the words behind `chat`.

    Raises:
        FrameworkError: one of them is wrong.
    """
    if not arguments or arguments[0].startswith("-") or "=" in arguments[0]:
        raise FrameworkError(f"which run? Usage: {USAGE}")
    parser = _parser()
    speakers = _add_speakers(parser)
    given, rest = parser.parse_known_args(list(arguments[1:]))
    _check_overrides(parser, rest)
    asked = {name: word for name in speakers if (word := getattr(given, _place(name))) is not None}
    if len(asked) > 1:
        parser.error(f"--{' and --'.join(asked)} cannot both answer")
    return Options(
        run_dir=arguments[0],
        overrides=tuple(rest),
        talking=given.talking or (),
        speaker=next((speakers[name] for name in asked), None),
        word="".join(asked.values()),
        system=given.system,
        as_json=given.json,
        sampling=Sampling(given.max_new_tokens, given.temperature, given.top_p, given.seed),
    )


def _parser() -> _Parser:
    parser, plain = _Parser(add_help=False, allow_abbrev=False), Sampling()
    who = parser.add_mutually_exclusive_group()
    for names in (("base",), ("tuned",), ("base", "tuned")):
        word = names[0] if len(names) == 1 else "both"
        who.add_argument(f"--{word}", dest="talking", action="store_const", const=names)
    above, share = _number(int, lambda n: n > 0, "a whole number above 0"), "a number above 0, up to 1"
    parser.add_argument("--max-new-tokens", type=above, default=plain.max_new_tokens)
    warmth = _number(float, lambda n: 0 <= n < math.inf, "a number of at least 0")
    parser.add_argument("--temperature", type=warmth, default=plain.temperature)
    parser.add_argument("--top-p", type=_number(float, lambda n: 0 < n <= 1, share), default=plain.top_p)
    seed = _number(int, lambda n: 0 <= n <= LARGEST_SEED, f"a whole number from 0 to {LARGEST_SEED}")
    parser.add_argument("--seed", type=seed)
    parser.add_argument("--system")
    parser.add_argument("--json", action="store_true")
    return parser


def _number(kind: Callable[[str], Any], holds: Callable[[Any], bool], valid: str) -> Callable[[str], Any]:
    """Return what reads a number within a range."""

    def read(word: str) -> Any:
        try:
            value = kind(word)
        except ValueError:
            value = math.nan
        if not holds(value):
            message = f"{word} must be {valid}"
            raise argparse.ArgumentTypeError(message)
        return value

    return read


def _add_speakers(parser: argparse.ArgumentParser) -> Mapping[str, Component]:
    """Make an option of every speaker that a plugin registers, and return those."""
    found = {}
    for name, registration in registrations(SPEAKERS).items():
        try:
            parser.add_argument(f"--{name}", dest=_place(name), nargs="?", const="")
        except argparse.ArgumentError:
            leave_out(registration.plugin, f"speaker '{name}'", "chat has an option of that name")
            continue
        found[name] = registration.component
    return found


def _place(speaker: str) -> str:
    """Return where the parser puts the word of a speaker, which may have any name."""
    return f"speaker {speaker}"


def _check_overrides(parser: _Parser, words: Sequence[str]) -> None:
    """Refuse what is neither an option nor an override.

    Raises:
        FrameworkError: names the word.
    """
    valid = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 - no other way
    for word in words:
        if word.startswith("-"):
            raise FrameworkError(unknown("option", word.partition("=")[0], valid))
        if "=" not in word:
            raise FrameworkError(f"'{word}' is no override like key=value. Usage: {USAGE}")
    check_twice(words)
