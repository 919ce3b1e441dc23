"""The file of `bench-gpu`: what one GPU came to, without names of people or machines, with a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import socket
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework import FrameworkError, __version__
from framework.api import as_plain, write_atomically
from framework.api.program import load_record
from framework_plugins.gpu.card import Card

FORMAT = 1
"""Changes with the fields below. Files of another format are not read."""
MOST_BYTES = 16 << 20
"""The largest file that is read."""
SETTLED = 2
"""Steps that are not counted: kernels are compiled, and memory is found to be short, in the first ones."""
FIRST_LOSSES = 3
LONGEST = 300
"""Characters of a reason."""


@dataclass(frozen=True)
class Measured:
    """What one contender came to.

    Attributes:
        step_seconds: of each optimizer step; every step is taken to have as many tokens.
        tokens_per_second: of the rows, padding apart, without the first steps.
        peak_allocated: bytes of torch's allocator; 0 on a CPU.
        peak_reserved: bytes that it held.
        plan_low: the lower end of the plan's range for `peak_reserved`; 0 if nothing was planned.
        plan_high: the upper end.
        first_losses: of the first steps.
        held_out_loss: of rows that nobody trained on, by plain peft; None if it was not taken.
        notes: how it trained.
    """

    step_seconds: list[float]
    tokens_per_second: float
    peak_allocated: int = 0
    peak_reserved: int = 0
    plan_low: int = 0
    plan_high: int = 0
    first_losses: list[float] = field(default_factory=list)
    held_out_loss: float | None = None
    notes: str = ""


@dataclass(frozen=True)
class PartResult:
    """One part. A contender that is in neither `results` nor `missing` has not run yet.

    Attributes:
        limit_gib: what each training was allowed to have.
        rows: that were trained on.
        tokens: of these rows.
        steps: optimizer steps.
        results: by contender.
        missing: why a contender has no result.
        try_again: those of them that could not be installed: there may be a network at the next start.
    """

    limit_gib: int
    rows: int
    tokens: int
    steps: int
    results: dict[str, Measured] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    try_again: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GpuResults:
    """All parts of one GPU.

    Attributes:
        format: of this file.
        framework: the version that measured.
        dry: whether it was a dry run, with tiny shapes on the CPU; its numbers say nothing about a GPU.
        card: the GPU.
        driver: the version of its driver.
        system: the operating system.
        python: the version.
        versions: of libraries, by environment.
        parts: by name.
        checksum: of all the above.
    """

    format: int
    framework: str
    dry: bool
    card: Card
    driver: str
    system: str
    python: str
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    parts: dict[str, PartResult] = field(default_factory=dict)
    checksum: str = ""


def rate(tokens: int, seconds: list[float]) -> float:
    """Return the tokens a second of a training, without its first steps."""
    counted = seconds[min(SETTLED, len(seconds) - 1) :]
    return tokens / len(seconds) * len(counted) / sum(counted)


def checksum(results: GpuResults) -> str:
    """Return the sum over everything but the sum itself."""
    plain = as_plain(dataclasses.replace(results, checksum=""))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def save_results(results: GpuResults, file: Path) -> None:
    """Write the file, with its sum; it is complete or as it was before."""
    summed = dataclasses.replace(results, checksum=checksum(results))
    write_atomically(file, json.dumps(as_plain(summed), indent=1) + "\n")


def load_results(file: Path) -> GpuResults:
    """Read a file, and add it up.

    Raises:
        FrameworkError: it is not such a file, it has another format, or it was edited.
    """
    if file.exists() and (not file.is_file() or file.stat().st_size > MOST_BYTES):
        raise FrameworkError(f"{file} is not a file of bench-gpu: those are files of at most {MOST_BYTES >> 20} MiB")
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FrameworkError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FrameworkError(f"{file} is not JSON: {error}. bench-gpu writes such files") from error
    file_format = plain.get("format") if isinstance(plain, dict) else None
    if not isinstance(file_format, int):
        raise FrameworkError(f"{file} is not a file of bench-gpu: it has no `format`")
    if file_format != FORMAT:
        version = plain.get("framework", "another version")
        raise FrameworkError(
            f"{file} has format {file_format}, of framework {version}; this version, {__version__}, reads "
            f"format {FORMAT}"
        )
    try:
        results = load_record(GpuResults, file)
    except ValueError as error:
        raise FrameworkError(
            f"{file} is not a file of bench-gpu: its fields are not those of format {FORMAT}"
        ) from error
    for name, part in results.parts.items():
        for who, measured in part.results.items():
            is_timed = measured.step_seconds and min(measured.step_seconds) > 0
            if not is_timed or not math.isclose(
                measured.tokens_per_second, rate(part.tokens, measured.step_seconds), rel_tol=1e-9
            ):
                raise FrameworkError(
                    f"{file} was edited: {name}, {who}: {measured.tokens_per_second:,.1f} tokens/s do not follow from "
                    "its tokens and seconds"
                )
    if results.checksum != checksum(results):
        raise FrameworkError(f"{file} was edited: its checksum is {results.checksum}, and its content has another one")
    return results


def anonymous(text: str) -> str:
    """Return a text without the folders of paths and without the name of this machine."""
    short = re.sub(r"(?<![\w.:/+)])(?:~|\.{1,2})?(?:/[\w.@+ -]*[\w.@+-])*/(?=[\w.@+-])", "…/", text)
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", short)[:LONGEST] if host else short[:LONGEST]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "bench-gpu", **_schema(GpuResults)}


def _schema(kind: Any) -> dict[str, Any]:
    simple = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in simple:
        return {"type": simple[kind]}
    if origin is types.UnionType:
        return {"anyOf": [_schema(member) for member in arguments]}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    hints = typing.get_type_hints(kind)
    return {
        "type": "object",
        "properties": {name: _schema(hint) for name, hint in hints.items()},
        "required": list(hints),
        "additionalProperties": False,
    }
