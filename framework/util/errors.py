"""The one exception for a user's mistake: it is printed as text, exit code 2, never as a traceback."""

from __future__ import annotations

import errno
import os
import re
import signal
import traceback
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from hydra.errors import CompactHydraException

from framework.util.redact import redact

DISABLE = "FRAMEWORK_DISABLE_PLUGINS"
"""The variable that names plugins to leave out."""
CORE = Path(__file__).parents[1]
USER_MISTAKE = 2
"""The exit code after a mistake that the user can fix."""
LONGEST_NAME = 255
"""Bytes of a file's name, on all file systems that are in use."""
QUOTED_WORD = re.compile(r"""["'](\w+)["']""")
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
"""What a terminal would act on, and how it is shown."""
COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""Escape codes for terminals in messages of libraries."""
SHOWN_NAMES = 60
"""Valid names that a message lists: names that come from data may be thousands."""
STORES = ".stores"
"""The folder in the cache with the runs that are on stores, a folder for each protocol."""
SHOWN_CHARACTERS = 60
"""Characters of a name of a file that is too long."""


class FrameworkError(CompactHydraException):  # which Hydra and its launchers print without a traceback, decision 0003
    """Something the user can fix. The message names the place, the value, the valid choices and the fix.

    It is one of Hydra's compact exceptions so that launchers which print errors themselves leave the traceback out too.

    Attributes:
        settings: what would fix it, by key: `{"data.encoding": "cp1252"}`; empty if no setting does.
    """

    def __init__(self, *args: object, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(*args)
        self.settings = dict(settings or {})

    def __str__(self) -> str:
        # It quotes settings, names of files and other exceptions, wherever it is shown or stored.
        return str(redact(super().__str__())).translate(CONTROLS)


class DoesNotFitError(FrameworkError):
    """A run needs more memory than there is. A sweep passes over such a trial."""


class PrunedError(FrameworkError):
    """A sweep prunes a trial during its training: others are far better. The trial has not failed."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to end, and the run can be resumed. `code` is the exit code."""

    SIGNALS: ClassVar[tuple[signal.Signals, ...]] = tuple(
        getattr(signal, name)
        for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP", "SIGXCPU")
        if hasattr(signal, name)  # Windows has only some of them
    )
    """The signals that ask a run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int]]:
        return type(self), (self.number,)  # a worker of a launcher sends it to its parent

    @property
    def code(self) -> int:
        """The exit code of a process that ends by this signal, as shells have it: 143 for SIGTERM."""
        return 128 + self.number


def nearest(word: str, choices: Iterable[str], *, count: int = 1) -> list[str]:
    """Return the `count` choices that `word` most likely means, best first; none if nothing is close.

    First those that hold the word as a part (`epochs`) or are abbreviated by it (`lr`), then those spelled like it.
    """
    names = list(choices)
    return list(dict.fromkeys([*names_with(word, names), *get_close_matches(word, names, n=count, cutoff=0.5)]))[:count]


def names_with(word: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that have `word` as a part or are abbreviated by it, then those in which it is anywhere."""
    names = {name: name.split("_") for name in choices}
    matches = [name for name, parts in names.items() if word in parts or word == "".join(part[:1] for part in parts)]
    longer = [name for name in names if len(word) > 3 and word in name]  # noqa: PLR2004 - shorter ones are in too many
    return list(dict.fromkeys([*matches, *longer]))


def unknown(what: str, word: str, choices: Iterable[str]) -> str:
    """Say that `word` is not a `what`, with the nearest choice if there is one, and the choices, at most 60 of them."""
    names = sorted(choices)
    close = nearest(word, names)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if foreign := foreign_letter(word):
        hint = f" {foreign}.{hint}"
    suffix = f" and {len(names) - SHOWN_NAMES:,} others" if len(names) > SHOWN_NAMES else ""
    off = f" {DISABLE}={os.environ[DISABLE]} leaves out what these plugins add." if os.environ.get(DISABLE) else ""
    return f"unknown {what} '{word}'.{hint} Valid: {', '.join(names[:SHOWN_NAMES]) or 'none'}{suffix}.{off}"


def describe_character(letter: str) -> str:
    """Return a character with its code point and name, which distinguish it from one that looks like it."""
    shown = f"'{letter}' " if letter.isprintable() and not letter.isspace() else ""
    return f"{shown}U+{ord(letter):04X} ({unicodedata.name(letter, 'not printable').lower()})"


def foreign_letter(name: str) -> str:
    """Name the first character of a key or a command that no name here has, as a sentence; empty if there is none."""
    letter = next((letter for letter in name if not letter.isascii() or not letter.isprintable()), "")
    return f"It contains the character {describe_character(letter)}: type the name again" if letter else ""


NO_THREAD = ("can't start new thread", "Failed to launch worker thread")
"""What Python and Arrow raise."""
NO_MAPPING = "failed to map segment from shared object"
"""What the loader says if a library does not fit into memory; Python makes an ImportError of it."""


OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",  # Linux and macOS
    "DefaultCPUAllocator: not enough memory",  # Windows
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",  # no memory for the handle; later it is another fault
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What a RuntimeError says where no allocator of torch on a GPU was asked, which has an error of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was not enough memory, of the machine or of a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # that of torch, without torch
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


def of_the_system(error: BaseException) -> FrameworkError | None:
    """Put a limit of the operating system into words that a user can act on; None for any other error."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EAGAIN or any(phrase in message_of(error) for phrase in NO_THREAD):
        return FrameworkError(
            "this user may start no more processes or threads: raise the limit, `ulimit -u`, or of memory, `ulimit -v`"
        )
    if isinstance(error, RuntimeError) and "home directory" in message_of(error):  # a user without an entry in passwd
        return FrameworkError(
            "this user has no home folder: set HOME=FOLDER, or FRAMEWORK_CACHE=FOLDER and whole paths"
        )
    if is_out_of_memory(error) or code == errno.ENOMEM or NO_MAPPING in message_of(error):
        return FrameworkError("this process gets no more memory: end other programs, or raise the limit, `ulimit -v`")
    if code == errno.ENAMETOOLONG:
        name = str(getattr(error, "filename", None) or "a path")
        name = next((part for part in name.split("/") if len(part.encode(errors="replace")) > LONGEST_NAME), name)
        shown = name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"
        return FrameworkError(f"{shown}: a name of a file has at most 255 bytes, and a path 4,095: give a shorter one")
    if code in {errno.EMFILE, errno.ENFILE}:
        return FrameworkError("this process may open no more files: raise the limit, `ulimit -n 4096`")
    return None


def summarize_error(error: BaseException) -> str:
    """Return the first line of an exception of a library, with its type and without secrets: enough to look it up.

    If the first line only announces the reason, with a colon at its end, the next line follows it.
    """
    lines = [line.strip() for line in str(redact(message_of(error))).splitlines() if line.strip()] or ["no message"]
    text = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])
    return f"{type(error).__name__}: {text}"


def message_of(error: BaseException) -> str:
    """Return the message of an exception, of which the code may be anyone's, without colours."""
    try:
        return COLOUR.sub("", str(error))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the code of an exception may be anyone's
        return "it has a message that cannot be printed"


def error_location(error: BaseException) -> str:
    """Return where an exception was raised, ` (acme.py:12)`; empty if that is unknown.

    What a decorator refuses is wrong in the line of the plugin that calls it. Variables of the environment that the
    lines before it name are given too: a library that fails while it is imported has read little else.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    words = (word for frame in frames for word in QUOTED_WORD.findall(frame.line or ""))
    variables = ", ".join(dict.fromkeys(word for word in words if word in os.environ))
    reads = f"; it depends on the variable {variables}" if variables else ""
    # The mistake is in the code that the core called, which may have handed a wrong value to the core.
    frames = [frame for frame in frames if not Path(frame.filename).is_relative_to(CORE)] or frames
    return f" ({frames[-1].filename}:{frames[-1].lineno}{reads})" if frames else ""


def error_traceback(error: BaseException) -> str:
    """Return the traceback of an exception as Python prints it, without secrets."""
    return str(redact("".join(traceback.format_exception(error))))


def describe_error(error: BaseException) -> str:
    """Say what was raised, and where; an error of ours says it all itself."""
    return str(error) if isinstance(error, FrameworkError) else f"{summarize_error(error)}{error_location(error)}"


def signal_name(number: int) -> str:
    """Return the name of a signal, `signal 9 (SIGKILL)`; only its number if this system has no name for it."""
    names = {member.value: f" ({member.name})" for member in signal.Signals}
    return f"signal {number}{names.get(number, '')}"


def is_url(text: str) -> bool:
    """Whether a place is a URL, of a store, and not a path. A protocol has two letters at least: fsspec's rule."""
    return re.match(r"[A-Za-z][\w+.-]+://", text) is not None


def display_run(run_dir: Path, folder: Path | None = None) -> str:
    """Return the folder of a run as it would be typed in `folder`: the URL of one on a store, else `display_path`."""
    if STORES not in run_dir.parts:
        return display_path(run_dir, folder)
    protocol, *parts = run_dir.parts[run_dir.parts.index(STORES) + 1 :]
    return f"{protocol}://{'/' if protocol in {'file', 'local'} else ''}{'/'.join(parts)}"


def display_path(path: Path, folder: Path | None = None) -> str:
    """Return a path as it would be typed in `folder`, by default the working folder: relative if it is inside."""
    folder = folder or Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
