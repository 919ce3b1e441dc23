"""The arguments of the command, parsed and checked."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework import Component, FrameworkError
from framework.api import RunFolder, plugins
from framework.api.program import CommandParser, reject_duplicate_overrides
from framework_plugins.chat.config import ChatCommandConfig

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Sampling:
    """How an answer is generated: its greatest length, and how the next token is chosen.

    Attributes:
        max_new_tokens: tokens of an answer, at most.
        temperature: 0 takes the likeliest token each time; 1 samples from the model's distribution.
        top_p: sample from the likeliest tokens with this total probability.
        seed: of the samples; None: a different one for each answer.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        run_dir: the folder of the run; None: the newest one.
        overrides: settings to change from those of the run, `trainer.device=cpu`.
        talking: who answers at first; empty if no option says so.
        speaker: the plugin's speaker that answers instead of the model; None: the model itself.
        word: the argument for that speaker, such as a file; may be empty.
        system: the system prompt; None: the run's.
        begin: whether each prompt gets the lines that all prompts of the run begin with.
        as_json: one JSON object for each answer.
        sampling: how the answers are made.
    """

    run_dir: str | None
    overrides: tuple[str, ...]
    talking: tuple[str, ...]
    speaker: Component | None
    word: str
    system: str | None
    begin: bool
    as_json: bool
    sampling: Sampling


def read_options(arguments: Sequence[str]) -> Options:
    """Read the arguments of `chat`.

    Raises:
        FrameworkError: one of them is wrong.
    """
    parser = _parser()
    speakers = _add_speakers(parser)
    runs = {word: began for word in arguments if (began := _run_start(word))}  # a shell may give all runs of a folder
    if len(runs) > 1:
        newest = max(runs, key=lambda run: runs[run])
        parser.error(f"{len(runs)} runs are given, and chat opens one; the newest is {newest}")
    parsed = parser.read(arguments)
    if parsed.run_dir is not None and "=" in parsed.run_dir and not Path(parsed.run_dir).exists():
        parsed.run_dir, parsed.overrides = None, [parsed.run_dir, *parsed.overrides]
    reject_duplicate_overrides(parsed.overrides)
    selected = {name: word for name in speakers if (word := getattr(parsed, _destination(name))) is not None}
    if len(selected) > 1:
        parser.error(f"--{' and --'.join(selected)} cannot both answer")
    return Options(
        run_dir=parsed.run_dir,
        overrides=tuple(parsed.overrides),
        talking=parsed.talking or (),
        speaker=next((speakers[name] for name in selected), None),
        word="".join(selected.values()),
        system=parsed.system,
        begin=parsed.begin,
        as_json=parsed.json,
        sampling=Sampling(parsed.max_new_tokens, parsed.temperature, parsed.top_p, parsed.seed),
    )


def _run_start(word: str) -> str:
    """Return when the run in a folder began; empty for every other word, such as a long system prompt."""
    with suppress(OSError, ValueError, FrameworkError):
        return str(RunFolder(Path(word)).status().get("started", "")) if word else ""
    return ""


def _parser() -> CommandParser:
    parser, plain = CommandParser("chat", ChatCommandConfig.__doc__), Sampling()
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", nargs="?", help="the folder of the run; default: the newest run below outputs/"
    )
    parser.add_overrides("settings to change from those of the run, such as trainer.device=cpu")
    speaker_group = parser.add_mutually_exclusive_group()
    for names in (("base",), ("tuned",), ("base", "tuned")):
        word, who = (names[0], f"only the {names[0]} model answers") if len(names) == 1 else ("both", "both answer")
        speaker_group.add_argument(
            f"--{word}", dest="talking", action="store_const", const=names, help=f"at first, {who}"
        )
    above, share = _number(int, lambda n: n > 0, "a whole number above 0"), "a number above 0, up to 1"
    parser.add_argument(
        "--max-new-tokens", type=above, default=plain.max_new_tokens, metavar="N",
        help="longest answer in tokens; default: %(default)s",
    )  # fmt: skip
    warmth = _number(float, lambda n: 0 <= n < math.inf, "a number of at least 0")
    parser.add_argument(
        "--temperature", type=warmth, default=plain.temperature, metavar="X",
        help="0, the default, takes the likeliest token each time; 1 samples from the model's distribution",
    )  # fmt: skip
    parser.add_argument(
        "--top-p", type=_number(float, lambda n: 0 < n <= 1, share), default=plain.top_p, metavar="X",
        help="sample from the likeliest tokens with this total probability; default: %(default)s",
    )  # fmt: skip
    seed = _number(int, lambda n: 0 <= n <= MAX_SEED, f"a whole number from 0 to {MAX_SEED}")
    parser.add_argument(
        "--seed", type=seed, metavar="N", help="the seed of the samples; default: a different one for each answer",
    )  # fmt: skip
    parser.add_argument(
        "--system", metavar="TEXT", help="the system prompt; default: the one that most training rows had",
    )  # fmt: skip
    parser.add_argument(
        "--no-begin", dest="begin", action="store_false",
        help="do not begin each prompt with the lines that all prompts of the run begin with",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true",
        help="print each answer as a JSON object on one line: speaker, prompt, answer, dropped",
    )  # fmt: skip
    return parser


def _number(kind: Callable[[str], Any], in_range: Callable[[Any], bool], valid: str) -> Callable[[str], Any]:
    """Return what reads a number within a range."""

    def read(word: str) -> Any:
        try:
            value = kind(word)
        except ValueError:
            value = math.nan
        if not in_range(value):
            raise argparse.ArgumentTypeError(f"{word} must be {valid}")
        return value

    return read


def _add_speakers(parser: CommandParser) -> Mapping[str, Component]:
    """Make an option of every speaker that a plugin registers, and return those."""
    components = {}
    for name, registration in plugins().registrations("speaker").items():
        description = f"instead of the model: {registration.component.summary}".replace("%", "%%")
        try:
            parser.add_argument(
                f"--{name}", dest=_destination(name), nargs="?", const="", metavar="WORD", help=description
            )
        except argparse.ArgumentError:
            plugins().skip_plugin(registration.plugin, f"speaker '{name}'", "chat has an option of that name")
            continue
        components[name] = registration.component
    return components


def _destination(speaker: str) -> str:
    """Return where the parser puts the word of a speaker, which may have any name."""
    return f"speaker {speaker}"
