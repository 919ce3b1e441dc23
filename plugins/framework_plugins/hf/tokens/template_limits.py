"""A third-party chat template is a program: before it runs here, it runs in a copy of this process with limits.

The copy is a fork, which takes milliseconds, and renders a few conversations with a limit of processor time and one of
memory. A template that keeps to both is accepted, by its hash, for all later runs of this user. What it does with other
conversations is not proven: the limits keep a loop without end and a text of gigabytes away, whoever wrote them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from framework import FrameworkError
from framework.api import cache_dir, key_of

CPU_SECONDS, WALL_SECONDS = 4, 60.0
"""Seconds of processor time, and until an answer has to be there on a machine that is busy with other things."""
POLL_SECONDS = 0.002
"""Seconds between two looks whether the copy has ended."""
MEMORY_BYTES = 512 << 20
"""Bytes beyond those that this process has."""
OUT_OF_MEMORY_EXIT = 3
COMPILE: Callable[[str], Any] | None = getattr(chat_template_utils, "_compile_jinja_template", None)
CALL = {"type": "function", "function": {"name": "look", "arguments": {"word": "a"}}}
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is this?"},
    {"role": "assistant", "content": "A word.", "reasoning_content": "It is short."},
    {"role": "user", "content": "And that?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "look", "content": "found"},
    {"role": "assistant", "content": "Another one."},
]
CONVERSATIONS = (TURNS[1:2], TURNS[1:3], TURNS[:3], TURNS[1:4], TURNS)


def check_template(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any], name: str) -> None:
    """Render with limits, unless this template and these settings were accepted before.

    Args:
        tokenizer: has the template.
        settings: switches of the template.
        name: of the model or the file, for the message.

    Raises:
        FrameworkError: the template does not end in time, or takes too much memory.
    """
    if not hasattr(os, "fork"):
        return
    accepted = cache_dir() / "templates" / key_of(tokenizer.chat_template, dict(settings), CPU_SECONDS, MEMORY_BYTES)
    if accepted.is_file():
        return
    if problem := _problem(tokenizer, settings):
        raise FrameworkError(
            f"{name}: the chat template {problem}, so conversations cannot use it: give the model's own, "
            "model.chat_template=FILE.jinja"
        )
    try:
        accepted.parent.mkdir(parents=True, exist_ok=True)
        accepted.touch()
    except OSError:  # a cache that cannot be written: it is checked again the next time
        return


def _problem(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> str:
    """Render in a copy of this process; return the problem, empty if there is none."""
    import resource  # noqa: F401, PLC0415 - not on Windows

    # All that renders is imported by now: a lock of an import that another thread holds would never open in the copy.
    tokenizer.apply_chat_template(TURNS[1:2], chat_template="{{ messages }}", tokenize=False)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # From Python 3.12 on: the copy has no threads. It takes no lock of theirs: it renders, and ends at once.
        warnings.simplefilter("ignore", DeprecationWarning)
        # A new Python would need seconds to import what renders.
        child = os.fork()
    if child == 0:
        _render(tokenizer, settings)
    end = time.monotonic() + WALL_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"does not end within {WALL_SECONDS:g} s"
        time.sleep(POLL_SECONDS)
    code = os.waitstatus_to_exitcode(status)
    if code in {-signal.SIGXCPU, -signal.SIGKILL}:
        return f"does not end within {CPU_SECONDS} s"
    if code == OUT_OF_MEMORY_EXIT:
        return f"takes more than {MEMORY_BYTES >> 20} MiB for a short conversation"
    return f"makes Python exit with code {code}" if code else ""


def _render(tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]) -> None:
    """Render some conversations and end this process."""
    import resource  # noqa: PLC0415 - as above

    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that waits gets it too, and ends this one
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not _constants_fit(tokenizer):
            code = OUT_OF_MEMORY_EXIT
            return
        for turns in CONVERSATIONS:
            for tools in (None, [TOOL]):
                for prompt in (True, False):
                    try:
                        tokenizer.apply_chat_template(
                            turns, tools=tools, tokenize=False, add_generation_prompt=prompt, **settings
                        )
                    except MemoryError:
                        code = OUT_OF_MEMORY_EXIT
                        return
                    except Exception:  # noqa: BLE001, S112 - it refuses these turns, which is its right
                        continue
        code = 0
    finally:
        os._exit(code)


def _constants_fit(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether there is memory for the constant expressions of a template.

    Jinja computes them when it compiles, also those that no conversation reaches, and passes over a MemoryError.
    """
    template = tokenizer.chat_template
    for source in template.values() if isinstance(template, dict) else [template]:
        try:
            tree = COMPILE(source).environment.parse(source) if COMPILE else nodes.Template([])
        except TemplateError:
            continue  # rendering says so
        for expression in tree.find_all(nodes.Expr):
            try:
                expression.as_const()
            except nodes.Impossible as error:
                if isinstance(error.__cause__, MemoryError):
                    return False
            except Exception:  # noqa: BLE001, S112 - not a constant: only rendering computes it
                continue
    return True
