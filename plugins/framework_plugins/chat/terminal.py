"""A conversation in a terminal: prompts are typed, answers stream, two of them side by side."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Generator, Iterator, Sequence
from types import FrameType
from typing import IO, Any, Self

from rich.console import Console
from rich.text import Text

from framework import FrameworkError
from framework_plugins.chat.columns import THINKING, THINKING_AFTER, TerminalColumns, column_width
from framework_plugins.chat.session import CONTROL, ChatSession, Reply, is_command, prompt_of

PIECES_PER_TURN = 4
"""Pieces of one answer before the other continues: switching between base and adapter takes time."""


def converse(session: ChatSession, console: Console, greeting: str) -> None:
    """Read prompts and show answers until the end of input, Ctrl-C at the prompt, or /quit."""
    with contextlib.suppress(ImportError):  # Windows has none; the terminal edits the line by itself then
        import readline  # noqa: PLC0415 - the import changes `input`, and scripts need no line editing

        readline.parse_and_bind("set enable-bracketed-paste on")  # pasted lines are one prompt
    _note(console, greeting)
    while not session.over:
        try:
            line = input(f"{'+'.join(session.talking)}> ").strip()
            prompt = prompt_of(line, lambda: input("... "))
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        try:
            if is_command(line):
                _note(console, session.run_command(line))
            elif prompt:
                _answer(session, console, prompt)
        except FrameworkError as error:
            console.print(Text(str(error), "red"))


def _note(console: Console, text: str) -> None:
    if text:
        console.print(Text(text, "dim"))


def _answer(session: ChatSession, console: Console, prompt: str) -> None:
    with Interrupt() as interrupt:
        replies = session.ask(prompt)
        for reply in replies:
            _note(console, reply.notice)
        width = column_width(console.width, len(replies))
        if len(replies) > 1 and width:
            _side_by_side(console, replies, width, interrupt)
        else:
            _one_after_the_other(console, replies, interrupt)
    if interrupt.pressed:
        _note(console, "stopped")


class Interrupt:
    """Ctrl-C while answers are made: the first is noted and ends them at the next piece, the second ends the program.

    An exception at any other moment could leave a model half switched from its adapter to its base.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, _: int, __: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True


def _one_after_the_other(console: Console, replies: Sequence[Reply], interrupt: Interrupt) -> None:
    for reply in replies:
        if interrupt.pressed:
            return
        if len(replies) > 1:
            console.print(Text(reply.speaker, "bold"))
        with contextlib.closing(_printable(reply)) as pieces:
            _write(console.file, pieces, interrupt)


def _write(out: IO[str], pieces: Iterator[str], interrupt: Interrupt) -> None:
    """Write the pieces of one answer, and that the model thinks if nothing comes of it for long."""
    silent, started = 0, False
    for piece in pieces:
        silent += not piece
        if not started and not piece and silent == THINKING_AFTER:
            out.write(THINKING)
        elif not started and piece and silent >= THINKING_AFTER:
            out.write(f"\r{' ' * len(THINKING)}\r")
        started = started or bool(piece)
        out.write(piece)
        out.flush()
        if interrupt.pressed:
            break
    out.write("\n")


def _side_by_side(console: Console, replies: Sequence[Reply], width: int, interrupt: Interrupt) -> None:
    columns = TerminalColumns(console.file, width, [reply.speaker for reply in replies])
    with contextlib.ExitStack() as stack:
        answers = [stack.enter_context(contextlib.closing(_printable(reply))) for reply in replies]
        going = dict(enumerate(answers))
        while going and not interrupt.pressed:
            for index, pieces in list(going.items()):
                if not _write_turn(columns, index, pieces, interrupt):
                    columns.end(index)
                    del going[index]
        for index in going:
            columns.end(index)


def _write_turn(columns: TerminalColumns, index: int, pieces: Iterator[str], interrupt: Interrupt) -> bool:
    """Let a column grow by a few pieces; return whether there may be more."""
    count = 0
    for piece in itertools.islice(pieces, PIECES_PER_TURN):
        columns.add(index, piece)
        count += 1
        if interrupt.pressed:
            return True
    return count == PIECES_PER_TURN


def _printable(reply: Reply) -> Generator[str]:
    """Give the pieces of an answer as they may be printed."""
    with contextlib.closing(reply.pieces) as pieces:
        for piece in pieces:
            yield CONTROL.sub("", piece).replace("\t", "    ")
