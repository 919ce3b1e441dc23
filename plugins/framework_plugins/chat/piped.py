"""A conversation for scripts: lines of standard input are prompts, standard output has the answers and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator

from framework import FrameworkError
from framework.api.program import CONTROL
from framework_plugins.chat.session import ChatSession, Reply, is_command, prompt_of


def converse(session: ChatSession, lines: Iterable[str], *, as_json: bool) -> None:
    """Answer each prompt; what else there is to tell goes to standard error.

    Raises:
        FrameworkError: a line cannot be read, is no word of ours, or cannot be answered.
    """
    rest = _readable(lines)
    for line in rest:
        if is_command(line):
            print_notice(session.run_command(line))
        elif prompt := prompt_of(line, lambda: next(rest)):
            for reply in session.ask(prompt):
                print_notice(reply.notice)
                _print(reply, as_json=as_json, marked=len(session.talking) > 1)
        if session.over:
            return


def _readable(lines: Iterable[str]) -> Iterator[str]:
    """Give lines without their ends.

    Raises:
        FrameworkError: one is no text.
    """
    number = 0
    try:
        for line in lines:
            number += 1
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise FrameworkError(f"standard input is not {error.encoding.upper()} text after line {number}") from error


def print_notice(text: str) -> None:
    """Print a line to standard error, if there is one: standard output has only the answers."""
    if text:
        print(text, file=sys.stderr)  # noqa: T201


def _print(reply: Reply, *, as_json: bool, marked: bool) -> None:
    """Print an answer as it comes; `marked`: each line of it begins with the speaker's name."""
    if as_json:
        whole = {"speaker": reply.speaker, "prompt": reply.prompt, "answer": "".join(reply.pieces)}
        text = json.dumps({**whole, "dropped": reply.dropped}, ensure_ascii=False)
        print(_spelled(text), flush=True)  # noqa: T201
        return
    mark = f"{reply.speaker}: " if marked else ""
    print(mark, end="")  # noqa: T201
    for piece in reply.pieces:
        print(_spelled(piece).replace("\n", f"\n{mark}"), end="", flush=True)  # noqa: T201
    print(flush=True)  # noqa: T201


def _spelled(text: str) -> str:
    """Spell out what a terminal obeys, as JSON does: what reads the pipe may be a terminal in the end."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
