"""Safetensors files in which one thing is changed: of a model or of an adapter."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import Expect
from benchmarks.fuzz.edits import Edit

R, S, E = Expect.REFUSED, Expect.SAME, Expect.EITHER
NAN, INF = float("nan"), float("inf")
WHY = "each float64 is a float32 here, and other libraries write the same tensors"
FORMATS = ("int8", "uint8", "int16", "int32", "int64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2")
SHAPES: tuple[Any, ...] = ([], [1], [-1, 16], [2**40], [2**63, 2], [16, 2**62], [1.5], "x")
OFFSETS: tuple[Any, ...] = ([0, 0], [5, 1], [-4, 4], [0, 2**40], [2**63, 2**64], [], [0], "x")


@st.composite
def changed(draw: DrawFn, file: str, names: Sequence[str]) -> tuple[str, Expect, Edit, str]:
    """Draw a change of the tensors or of the header of a file: what it is, the outcome, and the tensor."""

    def pick(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    def tensors(how: str, of: str, *value: Any) -> Edit:
        return Edit("tensors", file, (how, of, *value))

    def header(*keys: str, value: Any) -> Edit:
        return Edit("header", file, (keys, value))

    name = pick(*names)
    of, text = pick(name, "*"), draw(st.text(max_size=5))
    length = struct.pack("<Q", pick(0, 7, 2**24, 2**40, 2**63, 2**64 - 1))
    notes = "__metadata__"
    what, expect, edit = pick(
        ("tensors in another number format", R, tensors("cast", of, pick(*FORMATS))),
        ("tensors in float64", E, tensors("cast", of, "float64")),
        ("a number that is not finite", R, tensors("fill", name, pick(NAN, INF, -INF))),
        ("a tensor is missing", R, tensors("drop", name)),
        ("a tensor is renamed", R, tensors("rename", name, pick(f"{name}.x", name.upper()))),
        (
            "a tensor is left over",
            R,
            tensors(
                "copy",
                name,
                pick(f"extra.{text}", f"9x.{name}"),
            ),
        ),
        ("a tensor of another shape", R, tensors("reshape", name, pick(1, 0))),
        ("another number format in the header", R, header(name, "dtype", value=pick("I32", "U32"))),
        ("another size in the header", R, header(name, "dtype", value=pick("F16", "I8", "BOOL", "F64", "NOPE", "", 5))),
        ("another shape in the header", R, header(name, "shape", value=pick(*SHAPES))),
        ("other offsets in the header", R, header(name, "data_offsets", value=pick(*OFFSETS))),
        ("a header that is not an object", R, header(value=pick([], 5, None, {}, {"a": 5}))),
        ("notes in the header", S, header(notes, value={"format": "pt", text: text})),
        ("notes that are not texts", R, header(notes, value=pick(5, [], {"a": 5}, {"a": None}))),
        ("notes of another library", E, header(notes, value=pick({"format": "tf"}, {"format": "nope"}, {}))),
        ("another length of the header", R, Edit("put", file, (length + draw(st.binary(max_size=40)),))),
        ("a file that is cut", R, Edit("cut", file, (draw(st.floats(0.01, 0.99)),))),
        ("bytes after the end", R, Edit("insert", file, (1.0, draw(st.binary(min_size=1, max_size=8))))),
        ("a byte in the header", R, Edit("insert", file, (draw(st.floats(0.0, 0.01)), b"\xff"))),
    )
    return what, expect, edit, name
