"""A conversation for scripts: lines of standard input are prompts, standard output has the answers and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator

from framework import FrameworkError
from framework_plugins.chat.session import CONTROL, ChatSession, Reply, is_command, prompt_of


def converse(session: ChatSession, lines: Iterable[str], *, as_json: bool) -> None:
    """Answer each prompt; what else there is to tell goes to standard error.

    Raises:
        FrameworkError: a line cannot be read, is not a word of ours, or cannot be answered.
    """
    remaining = _without_line_ends(lines)
    for line in remaining:
        if is_command(line):
            print_notice(session.run_command(line))
        elif prompt := prompt_of(line, lambda: next(remaining)):
            for reply in session.ask(prompt):
                print_notice(reply.notice)
                _print_reply(reply, as_json=as_json, marked=len(session.talking) > 1)
        if session.over:
            return


def _without_line_ends(lines: Iterable[str]) -> Iterator[str]:
    """Give lines without their ends.

    Raises:
        FrameworkError: one is not text.
    """
    line_count = 0
    try:
        for line in lines:
            line_count += 1
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise FrameworkError(f"standard input is not {error.encoding.upper()} text after line {line_count}") from error


def print_notice(text: str) -> None:
    """Print a line to standard error, if there is one: standard output has only the answers."""
    if text:
        print(text, file=sys.stderr)  # noqa: T201


def _print_reply(reply: Reply, *, as_json: bool, marked: bool) -> None:
    """Print an answer as it comes; `marked`: each line of it begins with the speaker's name."""
    if as_json:
        record = {"speaker": reply.speaker, "prompt": reply.prompt, "answer": "".join(reply.pieces)}
        text = json.dumps({**record, "dropped": reply.dropped}, ensure_ascii=False)
        print(_escaped(text), flush=True)  # noqa: T201
        return
    mark = f"{reply.speaker}: " if marked else ""
    print(mark, end="")  # noqa: T201
    for piece in reply.pieces:
        print(_escaped(piece).replace("\n", f"\n{mark}"), end="", flush=True)  # noqa: T201
    print(flush=True)  # noqa: T201


def _escaped(text: str) -> str:
    """Spell out what a terminal obeys, as JSON does: what reads the pipe may be a terminal in the end."""
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
