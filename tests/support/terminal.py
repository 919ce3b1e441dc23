"""Runs a program in a terminal of its own, as somebody who types would."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.forks import Call, Copy, Forks

SECONDS = 60


class Terminal:
    """A program with a terminal. Use it as a context manager: it does not outlive that.

    Args:
        command: the program and its words.
        cwd: its working folder.
        env: its variables.
        columns: cells in a line.
        forks: a Python that forks the program, which is Python then; its output is not flushed with each line.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 100,
        forks: Forks | None = None,
    ) -> None:  # fmt: skip
        self.shown = ""
        self._here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        variables = {**env, "TERM": "xterm", "COLUMNS": str(columns)}
        if forks:
            name = os.ttyname(there)
            call = Call([*command[1:]], str(cwd), variables, name, name, name)
            self._process: subprocess.Popen[bytes] | Copy = forks.start(call)
        else:
            self._process = subprocess.Popen(
                list(command), cwd=cwd, env=variables, stdin=there, stdout=there, stderr=there,
                start_new_session=True, preexec_fn=_take_terminal,  # noqa: PLW1509 - Ctrl-C reaches who owns it
            )  # fmt: skip
        os.close(there)

    def __enter__(self) -> Self:
        """Continue."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        os.close(self._here)

    def wait(self, text: str) -> str:
        """Read until `text` has been shown, and return all that was shown since the last wait."""
        end, start = time.monotonic() + SECONDS, self.shown
        while text not in start:
            ready, _, _ = select.select([self._here], [], [], max(0.0, end - time.monotonic()))
            piece = self._read() if ready else ""
            assert piece, f"{text!r} does not come after {start!r}"
            start += piece
        place = start.index(text) + len(text)
        self.shown = start[place:]
        return start[:place]

    def type(self, text: str) -> None:
        """Type. The character 3 is Ctrl-C, 4 is Ctrl-D."""
        os.write(self._here, text.encode())

    def hang_up(self) -> int:
        """Close the terminal, and return the exit code of the program."""
        os.close(self._here)
        self._here = os.open(os.devnull, os.O_RDONLY)
        return self._process.wait(SECONDS)

    def end(self) -> tuple[int, str]:
        """Read to the end, and return the exit code and the rest of what was shown."""
        rest = self.shown
        while True:
            ready, _, _ = select.select([self._here], [], [], SECONDS)
            assert ready, f"it does not end after {rest!r}"
            piece = self._read()
            if not piece:
                break
            rest += piece
        return self._process.wait(SECONDS), rest

    def _read(self) -> str:
        try:
            return os.read(self._here, 1 << 16).decode(errors="replace")
        except OSError:  # Linux says so if nobody holds the other end any more
            return ""


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
