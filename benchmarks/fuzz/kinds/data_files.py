"""Files of rows by their structure: the same rows in every kind of file, and files that are damaged in one place."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import PLACE, Case, Expect, words
from benchmarks.fuzz.edits import Edit
from tests.support.data_files import NAMES, content
from tests.support.tiny import chat_rows

ROWS = chat_rows(12)
LINES = [json.dumps(row) for row in ROWS]
FIELDS = list(ROWS[0])


def _case(what: str, expect: Expect, data: str, *edits: Edit, names: tuple[str, ...] = (), why: str = "") -> Case:
    return Case("data_files", what, words(data=data), expect, names=names or (data,), edits=edits, why=why)


def _file(what: str, expect: Expect, name: str, made: bytes, why: str = "") -> Case:
    return _case(what, expect, name, Edit("put", name, (made,)), why=why)


# ---- the same rows


PACKED = ("", ".gz", ".zst")
SAME_NAMES = [f"{name}{packing}" for name in NAMES for packing in PACKED]


def _as_is(name: str) -> Case:
    return _case(f"the rows as .{name.partition('.')[2]}", Expect.SAME, name, Edit("rows", name, (12,)))


@st.composite
def _written_lines(draw: DrawFn) -> Case:
    """Draw another way to write the same JSON lines."""
    ends, blank = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(["", "\n", "  \n", "\t\n\n"]))
    gap, ascii_only = draw(st.sampled_from(["", " ", "\t", "   "])), draw(st.booleans())
    lines = []
    for row in ROWS:
        keys = draw(st.permutations(FIELDS)) if draw(st.booleans()) else FIELDS
        text = json.dumps({key: row[key] for key in keys}, separators=(f"{gap},{gap}", f"{gap}:{gap}"))
        if not ascii_only:
            text = text.replace("number", "\\u006eumber")
        lines.append(gap + text + gap + ends + (blank if draw(st.booleans()) else ""))
    text = "".join(lines)
    made = (text.rstrip() if draw(st.booleans()) else text).encode()
    return _file(
        "JSON lines written differently", Expect.SAME, "r.jsonl", draw(st.sampled_from([b"", codecs.BOM_UTF8])) + made
    )


@st.composite
def _written_table(draw: DrawFn) -> Case:
    """Draw another way to write the same table."""
    text = io.StringIO(newline="")
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    quoting: Any = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]))
    writer = csv.writer(
        text, delimiter=delimiter, quoting=quoting, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    fields = draw(st.permutations(FIELDS))
    writer.writerow(fields)
    writer.writerows([row[name] for name in fields] for row in ROWS)
    made = text.getvalue().encode()
    made = made.rstrip(b"\r\n") if draw(st.booleans()) and quoting == csv.QUOTE_ALL else made
    name = "r.tsv" if delimiter == "\t" else "r.csv"
    return _file("a table written differently", Expect.SAME, name, draw(st.sampled_from([b"", codecs.BOM_UTF8])) + made)


@st.composite
def _written_columns(draw: DrawFn) -> Case:
    """Draw another way to write the same columns."""
    kind = draw(st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]))
    table = pa.table({name: pa.array([row[name] for row in ROWS]).cast(kind) for name in FIELDS})
    batch, sink = draw(st.integers(1, 13)), pa.BufferOutputStream()
    if draw(st.booleans()):
        pq.write_table(
            table,
            sink,
            row_group_size=batch,
            compression=draw(st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"])),
            use_dictionary=draw(st.booleans()),
            version=draw(st.sampled_from(["1.0", "2.4", "2.6"])),
            data_page_version=draw(st.sampled_from(["1.0", "2.0"])),
            write_statistics=draw(st.booleans()),
            store_schema=draw(st.booleans()),
        )
        return _file("Parquet written differently", Expect.SAME, "r.parquet", bytes(sink.getvalue()))
    version = draw(st.sampled_from([pa.ipc.MetadataVersion.V4, pa.ipc.MetadataVersion.V5]))
    # pyarrow cannot read what it writes of the older version with compression.
    compression = draw(st.sampled_from([None, "lz4", "zstd"])) if version == pa.ipc.MetadataVersion.V5 else None
    options = pa.ipc.IpcWriteOptions(compression=compression, unify_dictionaries=True, metadata_version=version)
    new = draw(st.sampled_from([pa.ipc.new_file, pa.ipc.new_stream]))
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=batch)
    return _file("Arrow written differently", Expect.SAME, "r.arrow", bytes(sink.getvalue()))


# ---- damage


def _broken_lines() -> Sequence[tuple[str, Callable[[str], str]]]:
    return (
        ("a line that is cut", lambda line: line[: len(line) // 2]),
        ("two rows and a comma in a line", lambda line: f"{line},{line}"),
        ("a list", lambda line: f"[{line}]"),
        ("a number", lambda _: "5"),
        ("null", lambda _: "null"),
        ("a text", json.dumps),
        ("a key twice", lambda line: line[:-1] + ', "output": "7"}'),
        ("a comment", lambda line: f"// {line}"),
        ("single quotes", lambda line: line.replace('"', "'")),
        ("a comma at the end", lambda line: f"{line},"),
        ("a control character", lambda line: line.replace("e", "e\0", 1)),
        ("no answer", lambda line: line.replace('"output"', '"outpu"')),
        ("an answer of null", lambda line: line[: line.index('"output"')] + '"output": null}'),
        ("an answer of a list", lambda line: line[: line.index('"output"')] + '"output": []}'),
        ("an answer of an object", lambda line: line[: line.index('"output"')] + '"output": {}}'),
        ("half a character", lambda line: line.replace("e", "\\ud800", 1)),
        ("nested too deep", lambda _: '{"a":' * 100_000),
        ("a lone bracket", lambda _: "{"),
        ("an unknown escape", lambda line: line.replace("e", "\\q", 1)),
    )


@st.composite
def _damaged_line(draw: DrawFn) -> Case:
    """Draw one bad line among good ones."""
    what, change = draw(st.sampled_from(_broken_lines()))
    number, name = draw(st.integers(0, 11)), draw(st.sampled_from(["r.jsonl", "r.ndjson", "r.jsonl.gz", "lines.json"]))
    edit = Edit("line", name, (number, change(LINES[number]).encode()))
    return _case(f"JSON lines: {what}", Expect.REFUSED, name, Edit("rows", name, (12,)), edit)


@st.composite
def _damaged_document(draw: DrawFn) -> Case:
    """Draw a damaged JSON file."""
    name = draw(st.sampled_from(["array.json", "object.json"]))
    whole = json.dumps(ROWS if name == "array.json" else {"data": ROWS}).encode()
    share = draw(st.floats(0.05, 0.97))
    what, made = draw(
        st.sampled_from(
            [
                ("cut", whole[: int(share * len(whole))]),
                ("text after its end", whole + b"x"),
                ("a byte of UTF-16", whole.replace(b"number", b"\xff\xfe", 1)),
                ("a row that is a number", whole.replace(b'{"instruction"', b'5, {"instruction"', 1)),
                ("a row that is a list", whole.replace(b'{"instruction"', b'[], {"instruction"', 1)),
                ("two lists of rows",
                    b'{"a": ' + content("array.json", ROWS) + b', "b": ' + content("array.json", ROWS) + b"}"),
                ("no rows", b"[]"),
                ("an empty object", b"{}"),
                ("a scalar", draw(st.sampled_from([b"5", b"null", b'"x"', b"true", b"NaN"]))),
                ("brackets only", b"[" * draw(st.integers(1, 200_000))),
            ]
        )
    )  # fmt: skip
    return _file(f"a JSON file: {what}", Expect.REFUSED, name, made)


@st.composite
def _damaged_table(draw: DrawFn) -> Case:
    """Draw a damaged table."""
    whole = content("r.csv", ROWS).decode()
    lines = whole.splitlines()
    number = draw(st.integers(1, 12))

    def with_line(change: Callable[[str], str]) -> str:
        return "\n".join(change(line) if at == number else line for at, line in enumerate(lines)) + "\n"

    what, made = draw(
        st.sampled_from(
            [
                ("one cell more", with_line(lambda line: f"{line},x")),
                ("two cells less", with_line(lambda line: line.partition(",")[0])),
                ("a quote that does not end", with_line(lambda line: '"' + line)),
                ("a header only", lines[0] + "\n"),
                ("no header", "\n".join(lines[1:])),
                ("a column twice", whole.replace("input", "output", 1)),
                ("an unnamed column", whole.replace("output", "", 1)),
                ("a header of another delimiter",
                    whole.replace("instruction,input,output", "instruction;input;output")),
                ("a header in quotes", whole.replace("instruction,input,output", '"instruction,input,output"')),
            ]
        )
    )  # fmt: skip
    return _file(f"a table: {what}", Expect.REFUSED, "r.csv", made.encode())


FOREIGN = (
    ("nothing", b""), ("white space", b" \n\n\t\n"), ("a byte order mark only", codecs.BOM_UTF8),
    ("a zip", b"PK\x03\x04" + bytes(60)),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(60)), ("HTML", b"<!DOCTYPE html><html></html>\n"),
    ("nulls", bytes(4096)),
    ("a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
    ("Parquet", content("r.parquet", ROWS)), ("Arrow", content("file.arrow", ROWS)),
    ("gzip", content("r.jsonl.gz", ROWS)),
    ("zstd", content("r.jsonl.zst", ROWS)), ("a pickle", b"\x80\x04cos\nsystem\n(S'touch x'\ntR."),
    ("an ELF file", b"\x7fELF" + bytes(60)),
)  # fmt: skip


@st.composite
def _foreign(draw: DrawFn) -> Case:
    """Draw a file whose content is of another kind than its name says."""
    what, made = draw(st.sampled_from(FOREIGN))
    names = (
        "r.jsonl", "r.json", "r.csv", "r.tsv", "r.parquet", "r.arrow", "r.feather", "r.jsonl.gz", "r.csv.zst",
    )  # fmt: skip
    right = {"Parquet": {"r.parquet"}, "Arrow": {"r.arrow", "r.feather"}, "gzip": {"r.jsonl.gz"}}.get(what, set())
    name = draw(st.sampled_from([each for each in names if each not in right]))
    return _file(f"{what} in a .{name.partition('.')[2]}", Expect.REFUSED, name, made)


ENCODINGS = (
    "latin-1",
    "cp1252",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "shift_jis",
    "koi8-r",
    "utf-7",
)


@st.composite
def _encoded(draw: DrawFn) -> Case:
    """Draw a text in another encoding; all but UTF-8 are refused if a letter shows them."""
    encoding, letters = draw(st.sampled_from(ENCODINGS)), {"shift_jis": "日本", "koi8-r": "да"}
    name = draw(st.sampled_from(["r.jsonl", "array.json", "r.csv", "r.tsv"]))
    rows = [{**row, "input": letters.get(encoding, "é")} for row in ROWS]
    made = content(name, rows).decode().encode(encoding)
    if encoding == "utf-7":
        return _file("UTF-7, which is ASCII", Expect.ANY, name, made, why="UTF-7 is valid UTF-8 with other letters")
    return _file(f"text in {encoding}", Expect.REFUSED, name, made)


OFFSETS = {
    "negative": -64, "a little negative": -1, "far outside": 1 << 30, "the largest": (1 << 31) - 1, "outside": 1 << 16,
}  # fmt: skip


@st.composite
def _offsets(draw: DrawFn) -> Case:
    """Draw an Arrow file in which one offset of a text points outside of the texts, or back."""
    what, value = draw(st.sampled_from([*OFFSETS.items()]))
    name, field = draw(st.sampled_from(["file.arrow", "stream.arrow", "r.feather"])), draw(st.sampled_from(FIELDS))
    lengths = [len(row[field].encode()) for row in ROWS]
    offsets = [sum(lengths[:number]) for number in range(13)]
    needle = b"".join(each.to_bytes(4, "little") for each in offsets)
    number = draw(st.integers(0, 12))
    change = Edit("write_at", name, (needle, 4 * number, value.to_bytes(4, "little", signed=True)))
    return _case(f"Arrow: an offset {what}", Expect.REFUSED, name, Edit("rows", name, (12,)), change)


@st.composite
def _overrun(draw: DrawFn) -> Case:
    """Draw an Arrow file whose last offset goes a little beyond the texts, or whose offsets go back."""
    name, field = (
        draw(st.sampled_from(["file.arrow", "stream.arrow"])),
        draw(st.sampled_from(["instruction", "output"])),
    )
    lengths = [len(row[field].encode()) for row in ROWS]
    offsets = [sum(lengths[:number]) for number in range(13)]
    needle = b"".join(each.to_bytes(4, "little") for each in offsets)
    if draw(st.booleans()):
        made = Edit("write_at", name, (needle, 48, (offsets[12] + 8 * draw(st.integers(1, 40))).to_bytes(4, "little")))
        what = "the last text overruns"
    else:
        number = draw(st.integers(2, 11))
        made = Edit("write_at", name, (needle, 4 * number, (offsets[number - 1] - 1).to_bytes(4, "little")))
        what = "an offset goes back"
    return _case(f"Arrow: {what}", Expect.REFUSED, name, Edit("rows", name, (12,)), made)


def _dictionary(value: int) -> Case:
    table = pa.table({name: pa.array([row[name] for row in ROWS]).dictionary_encode() for name in FIELDS})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    indices = table["output"].chunk(0).indices
    needle = b"".join(each.to_bytes(4, "little") for each in indices.to_pylist())
    change = Edit("write_at", "r.arrow", (needle, 8, value.to_bytes(4, "little", signed=True)))
    made = Edit("put", "r.arrow", (bytes(sink.getvalue()),))
    return _case("Arrow: an index outside of its dictionary", Expect.REFUSED, "r.arrow", made, change)


@st.composite
def _cut(draw: DrawFn) -> Case:
    """Draw a binary file that is cut."""
    name = draw(
        st.sampled_from(
            [each for each in SAME_NAMES if "arrow" in each or each.endswith(("parquet", "gz", "zst", "feather"))]
        )
    )
    share = draw(st.floats(0.02, 0.95))
    made = content(name, ROWS)
    return _file(f".{name.partition('.')[2]} that is cut", Expect.REFUSED, name, made[: int(share * len(made))])


@st.composite
def _flipped(draw: DrawFn) -> Case:
    """Draw bytes of the description of a Parquet or Arrow file that are overwritten."""
    name = draw(st.sampled_from(["r.parquet", "file.arrow", "stream.arrow", "r.parquet.gz"]))
    made = bytearray(content(name, ROWS))
    place = draw(st.integers(len(made) // 2 if "parquet" in name else 0, len(made) - 1))
    made[place : place + 2] = draw(st.binary(min_size=2, max_size=2))
    why = "the bytes may be those of a text, which has no checksum"
    return _file(f".{name.partition('.')[2]} with other bytes", Expect.ANY, name, bytes(made), why)


# ---- folders

ODD = (
    "a b.jsonl", "ä.jsonl", "日本.jsonl", "a'b.jsonl", 'a"b.jsonl', "a=b.jsonl", "-a.jsonl", "a,b.jsonl", "[a].jsonl",
    "{a}.jsonl", "$a.jsonl",
    "a\nb.jsonl", "a\tb.jsonl", "\x1b[31m.jsonl", "a" * 240 + ".jsonl", "A.JSONL", "a.b.jsonl", "%41.jsonl", "~.jsonl",
    "#.jsonl", "a:b.jsonl",
    "\\.jsonl", "*.jsonl", "\u202e.jsonl", "\udcff.jsonl", "e\u0301.jsonl",
)  # fmt: skip
ALL = "".join(f"{line}\n" for line in LINES).encode()


def _odd(name: str) -> Case:
    return _case("a folder with an odd name in it", Expect.SAME, "d", Edit("put", f"d/{name}", (ALL,)))


@st.composite
def _folders(draw: DrawFn) -> Case:
    """Draw a folder that holds the rows, in parts or deep, and other things that hold none."""
    parts, depth = draw(st.integers(1, 6)), draw(st.integers(0, 4))
    size = -(-12 // parts)
    below = "d/" + "".join(f"{draw(st.sampled_from(['x', 'y y', 'ü']))}/" for _ in range(depth))
    edits = []
    for number in range(0, 12, size):
        some = ROWS[number : number + size]
        name = draw(st.sampled_from(["p.jsonl", "p.csv", "array.json", "p.parquet", "file.arrow", "p.jsonl.gz"]))
        edits.append(Edit("put", f"{below}{number:02d}.{name.partition('.')[2]}", (content(name, some),)))
    others = (
        Edit("put", "d/README.md", (b"# rows\n",)), Edit("put", "d/LICENSE", (b"x",)),
        Edit("put", "d/.hidden.jsonl", (b"x",)),
        Edit("put", "d/.git/x.jsonl", (b"x",)), Edit("folder", "d/empty"), Edit("link", "d/loop", (".",)),
        Edit("pipe", "d/pipe"), Edit("listen", "d/socket"), Edit("put", "d/dataset_infos.json", (b"{}",)),
        Edit("link", "d/nowhere", ("gone",)), Edit("link", "d/device", ("/dev/zero",)),
        Edit("put", "d/picture.png", (b"\x89PNG",)),
    )  # fmt: skip
    more = draw(st.lists(st.sampled_from(others), max_size=3, unique=True))
    return _case("a folder with the rows", Expect.SAME, "d", *edits, *more, names=("d",))


@st.composite
def _bad_folders(draw: DrawFn) -> Case:
    """Draw a folder with one data file that is none."""
    ending = draw(st.sampled_from(["jsonl", "csv", "json", "parquet", "arrow"]))
    name = f"d/{draw(st.sampled_from(['a', 'z', 'm/m', 'ü']))}.{ending}"
    rows = Edit("put", "d/k.jsonl", (ALL,))
    what, bad = draw(
        st.sampled_from(
            [
                ("a pipe", (Edit("pipe", name),)),
                ("a socket", (Edit("folder", name.rpartition("/")[0]), Edit("listen", name))),
                ("a link to a device", (Edit("link", name, ("/dev/zero",)),)),
                ("a link to itself", (Edit("link", name, (name.rpartition("/")[2],)),)),
                ("a link to nowhere", (Edit("link", name, ("gone",)),)),
                ("a link to a process", (Edit("link", name, ("/proc/self/mem",)),)),
                ("damage", (Edit("put", name, (b"\xff\xfe{{\0",)),)),
                ("nothing", (Edit("put", name, (b"",)),)),
            ]
        )
    )
    bad = tuple(each for each in bad if not (each.do == "folder" and each.path == "d"))
    # Programs that write in parts leave files of text without a row.
    expect = Expect.SAME if what == "nothing" and ending in {"jsonl", "csv", "json"} else Expect.REFUSED
    names = (name.rpartition("/")[2], name)
    return _case(f"a folder with {what} as a data file", expect, "d", rows, *bad, names=names)


SPECIAL = (
    ("a pipe", "p.jsonl", (Edit("pipe", "p.jsonl"),)), ("a socket", "s.jsonl", (Edit("listen", "s.jsonl"),)),
    ("a link to a device", "l.jsonl", (Edit("link", "l.jsonl", ("/dev/zero",)),)),
    ("a link to itself", "l.jsonl", (Edit("link", "l.jsonl", ("l.jsonl",)),)),
    ("an empty folder", "d", (Edit("folder", "d"),)),
    ("a folder with the name of a file", "d.jsonl", (Edit("folder", "d.jsonl"),)),
    ("a device", "/dev/zero", ()), ("a terminal", "/dev/tty", ()), ("null", "/dev/null", ()),
    ("a process", "/proc/self/mem", ()),
    ("nothing there", "gone.jsonl", ()), ("the root", f"{PLACE}/home", ()),
    ("another kind", "r.xlsx", (Edit("put", "r.xlsx", (b"PK\x03\x04",)),)),
    ("a hole", "r.jsonl", (Edit("put", "r.jsonl", (ALL,)), Edit("hole", "r.jsonl", (1 << 20,)))),
    ("a large hole", "r.jsonl", (Edit("put", "r.jsonl", (ALL,)), Edit("hole", "r.jsonl", (1 << 27,)))),
    ("an address", "s3://bucket/x.jsonl", ()), ("an address", "https://x.example/a.jsonl", ()),
    ("an address", "file:///x.jsonl", ()),
    ("a long name", "x" * 5000, ()), ("a long component", "x" * 300 + ".jsonl", ()), ("dots", "../" * 2000, ()),
)  # fmt: skip


def _special(which: tuple[str, str, tuple[Edit, ...]]) -> Case:
    what, data, edits = which
    names = (data, data[:60], data.partition("//")[0], "home")
    return _case(f"data.path is {what}", Expect.REFUSED, data, *edits, names=names)


def _packed(which: tuple[str, bytes, Expect]) -> Case:
    what, made, expect = which
    return _file(f"gzip: {what}", expect, "r.jsonl.gz", made)


def _gzip(content: bytes, level: int = 9) -> bytes:
    return gzip.compress(content, level, mtime=0)


HALVES = _gzip(ALL[: len(ALL) // 2]) + _gzip(ALL[len(ALL) // 2 :])
WHOLE = _gzip(ALL)
PACKINGS: list[tuple[str, bytes, Expect]] = [
    ("two members", HALVES, Expect.SAME), ("an empty member", _gzip(b"") + WHOLE, Expect.SAME),
    ("nulls after its end", WHOLE + bytes(512), Expect.SAME), ("text after its end", WHOLE + b"x", Expect.REFUSED),
    ("a wrong sum", WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], Expect.REFUSED),
    ("a wrong length", WHOLE[:-4] + b"\1\0\0\0", Expect.REFUSED),
    ("another method", WHOLE[:2] + b"\7" + WHOLE[3:], Expect.REFUSED),
    ("packed twice", _gzip(WHOLE), Expect.REFUSED), ("a bomb", _gzip(bytes(1 << 28)), Expect.REFUSED),
    ("stored only", _gzip(ALL, 0), Expect.SAME),
]  # fmt: skip


# ---- shapes that people have

ASKED = [row["instruction"] + (f"\n\n{row['input']}" if row["input"] else "") for row in ROWS]
ANSWERED = [row["output"] for row in ROWS]
PAIRS = list(zip(ASKED, ANSWERED, strict=True))
KEYS = st.sampled_from(["inputs", "data", "a b", "ä", "x.y", "fields", "it's", "0"])


def _turns(asked: str, answered: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _lines(rows: Sequence[Any]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


@st.composite
def _nested(draw: DrawFn) -> Case:
    """Draw the rows with their fields inside objects and lists, and the paths that lead there."""
    columns, rows = {}, [dict[str, Any](id=number) for number in range(12)]
    for number, field in enumerate(FIELDS):
        keys = [f"{draw(KEYS)}{number}", *draw(st.lists(KEYS, max_size=3))]
        in_list, as_json = draw(st.booleans()), draw(st.booleans())
        for row, source in zip(rows, ROWS, strict=True):
            value: Any = [source[field], None] if in_list else source[field]
            for key in reversed(keys[1:]):
                value = {key: value, "more": 1}
            row[keys[0]] = json.dumps(value) if as_json and len(keys) > 1 else value
        path = ".".join([*keys, "0"] if in_list else keys).replace("'", "\\'")
        columns[field] = f"'{path}'"
    setting = f"format.columns={{{', '.join(f'{name}: {path}' for name, path in columns.items())}}}"
    edit = Edit("put", "r.jsonl", (_lines(rows),))
    return Case("data_files", "fields inside objects", words(setting, data="r.jsonl"), Expect.SAME, edits=(edit,))


@st.composite
def _spoken(draw: DrawFn) -> Case:
    """Draw the rows as chats by the names that people have."""
    user, bot = (
        draw(st.sampled_from(["user", "human", "prompter", "User"])),
        draw(st.sampled_from(["bot", "ai", "model"])),
    )
    who, what = draw(st.sampled_from([("role", "content"), ("author", "content"), ("role", "text"), ("from", "value")]))
    field = draw(st.sampled_from(["messages", "conversations", "turns"]))
    way = draw(st.sampled_from(["objects", "lists", "parts", "json", "anthropic"]))
    rows = list[Any]()
    for asked, answered in PAIRS:
        turns = [{who: user, what: asked}, {who: bot, what: answered}]
        if way == "anthropic":
            rows.append({"prompt": f"\n\nHuman: {asked}\n\nAssistant:", "completion": f" {answered}"})
        elif way == "lists" and (who, what) in (("role", "content"), ("from", "value")) and field != "turns":
            rows.append({field: {who: [user, bot], what: [asked, answered]}})
        elif way == "parts" and (who, what) == ("role", "content"):
            parts = [
                [{"type": draw(st.sampled_from(["text", "input_text"])), "text": text}] for text in (asked, answered)
            ]
            rows.append({field: [{who: user, what: parts[0]}, {who: bot, what: parts[1]}]})
        else:
            rows.append({field: json.dumps(turns) if way == "json" else turns})
    return _file("chats by other names", Expect.SAME, "r.jsonl", _lines(rows))


TEMPLATES = (
    ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "{}<|im_end|>"), ("<s>[INST] {} [/INST]", " {}</s>"),
    ("<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>", "{}<|eot_id|>"),
    ("### Instruction:\n{}\n\n### Response:", "{}"),
    ("<start_of_turn>user\n{}<end_of_turn>\n", "{}<end_of_turn>"), ("Question: {}\nAnswer:", " {}"), ("{}", "{}</s>"),
)  # fmt: skip
SPEAKERS = (("User", "Assistant"), ("Q", "A"), ("Human", "AI"), ("Customer", "Agent"), ("Frage", "Antwort"))


@st.composite
def _dialogues(draw: DrawFn) -> Case:
    """Draw dialogues that are written as text, which would be learned wrongly."""
    asks, answers = draw(st.sampled_from(SPEAKERS))
    begin, end = draw(st.sampled_from(TEMPLATES))
    day, minute = draw(st.integers(1, 28)), draw(st.integers(10, 59))
    date = draw(
        st.sampled_from(
            [f"[{day:02d}.12.23, 21:{minute}:03] ", f"[{day}/1/24, 9:{minute}:03 PM] ", f"12/{day}/23, 9:{minute} - "]
        )
    )
    picture = draw(st.sampled_from(["<image>\n", f"data:image/png;base64,{'QUJD' * 30} "]))
    halves = [{"prompt": begin.format(asked), "completion": end.format(answered)} for asked, answered in PAIRS]
    dialogues = [{"text": f"{asks}: {asked}\n{answers}: {answered}"} for asked, answered in PAIRS]
    pictures = [{"messages": _turns(picture + asked, answered)} for asked, answered in PAIRS]
    numbered = [*enumerate(ANSWERED)]
    times = (f"{number}\n00:00:{number:02d},000 --> 00:00:{number:02d},900\n{text}\n\n" for number, text in numbered)
    what, name, made = draw(
        st.sampled_from(
            [
                ("halves of rendered text", "r.jsonl", _lines(halves)),
                ("a dialogue in text", "r.jsonl", _lines(dialogues)),
                ("a dialogue by lines", "r.txt", "".join(f"{row['text']}\n" for row in dialogues).encode()),
                ("an exported chat", "_chat.txt", "".join(f"{date}Anna: {text}\n" for text in ANSWERED).encode()),
                ("subtitles", "r.txt", "".join(times).encode()),
                ("pictures as text", "r.jsonl", _lines(pictures)),
            ]
        )
    )
    return _file(what, Expect.REFUSED, name, made)


def _forms(rows: Sequence[tuple[str, str]], delimiter: str, end: str, names: tuple[str, str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(
        [("Timestamp", *names), *(("1", *row) for row in rows)]
    )
    return text.getvalue()


@st.composite
def _unread(draw: DrawFn) -> Case:
    """Draw files of forms, trackers, annotation tools and chat programs, which are refused with what to type."""
    asks, answers = draw(
        st.sampled_from([("What is your question?", "The ideal answer"), ("Frage", "Antwort"), ("x y", "z")])
    )
    outer, inner = (
        draw(st.sampled_from([("inputs", "outputs"), ("input", "expected"), ("request", "response")])),
        draw(KEYS),
    )
    people = draw(st.sampled_from([("from", "text"), ("author", "content"), ("user", "text")]))
    encoding = draw(st.sampled_from(["utf-8", "cp1252"]))
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    form = _forms([(f"{asked} é", answered) for asked, answered in PAIRS], delimiter, "\n", (asks, answers))
    around = [{outer[0]: {inner: asked}, outer[1]: {inner: answered, "id": 1}} for asked, answered in PAIRS]
    said = [{"id": number, people[0]: f"p{number % 2}", people[1]: text} for number, text in enumerate(ANSWERED)]
    beside = [
        {"prompt": "Why?", "chosen": _turns(asked, answered), "rejected": _turns(asked, "no")}
        for asked, answered in PAIRS
    ]
    what, name, made = draw(
        st.sampled_from(
            [
                ("a form", "r.csv", form.encode(encoding)),
                ("a table with CR", "r.csv", _forms(PAIRS, ",", "\r", ("question", "answer")).encode()),
                ("objects around texts", "r.jsonl", _lines(around)),
                (
                    "answers in lists",
                    "r.jsonl",
                    _lines([{"question": asked, "answer": [text]} for asked, text in PAIRS]),
                ),
                ("a chat of people", "r.json", json.dumps({"messages": said}).encode()),
                ("lines with commas", "r.jsonl", ALL.replace(b"}\n", b"},\n")),
                ("JSON in JSON", "r.jsonl", _lines(LINES)),
                ("another question beside a pair", "r.jsonl", _lines(beside)),
            ]
        )
    )
    return _file(what, Expect.REFUSED, name, made)


@cache
def _bomb(name: str, rows: int) -> bytes:
    """Return a small file of columns in which one text has 60 million letters."""
    table = pa.table({"instruction": ["say"] * (rows + 1), "output": [*["x"] * rows, "a" * 60_000_000]})
    sink = pa.BufferOutputStream()
    if "parquet" in name:
        pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    else:
        new = pa.ipc.new_stream if "stream" in name else pa.ipc.new_file
        with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    made = bytes(sink.getvalue())
    return gzip.compress(made, 1) if name.endswith(".gz") else made


def _unpacking(which: tuple[str, int]) -> Case:
    return _file("a table that unpacks to any size", Expect.REFUSED, which[0], _bomb(*which))


BOMBS = [(name, rows) for name in ("r.parquet", "r.arrow", "stream.arrow", "r.parquet.gz") for rows in (0, 3)]
CASES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(SAME_NAMES).map(_as_is), _written_lines(), _written_table(), _written_columns(), _damaged_line(),
    _damaged_document(), _damaged_table(), _foreign(), _encoded(), _offsets(), _overrun(),
    st.sampled_from([-1, 1 << 20, (1 << 31) - 1, -(1 << 31), 12, 100]).map(_dictionary), _cut(), _flipped(),
    st.sampled_from(ODD).map(_odd), _folders(), _bad_folders(), st.sampled_from(SPECIAL).map(_special),
    st.sampled_from(PACKINGS).map(_packed), _nested(), _spoken(), _dialogues(), _unread(),
    st.sampled_from(BOMBS).map(_unpacking),
)  # fmt: skip
