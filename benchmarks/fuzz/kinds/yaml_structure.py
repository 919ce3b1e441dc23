"""YAML by its structure: the same settings written in every way, and files that no settings can be read from."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import SOUND, Case, Expect, words
from benchmarks.fuzz.edits import Edit

FILE = "conf/experiment/mine.yaml"
HEAD = "# @package _global_\n"
KEYS = ("seed", "trainer.learning_rate", "trainer.max_steps", "adapter.r")
"""What the words of the sound case set, and here the file does."""
LINE = ("+experiment=mine", *(word for word in SOUND["plan"].words if word.partition("=")[0] not in KEYS))
SETTINGS: dict[str, Any] = {"seed": 42, "trainer": {"learning_rate": 0.01, "max_steps": 2}, "adapter": {"r": 2}}
BLOCK = HEAD + "seed: 42\ntrainer:\n  learning_rate: 0.01\n  max_steps: 2\nadapter:\n  r: 2\n"
NAMES = ("mine.yaml", "experiment/mine", "'mine'")


def _case(what: str, expect: Expect, content: bytes | str, *names: str, why: str = "") -> Case:
    made = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return Case(
        "yaml_structure", what, LINE, expect, "plan", (*NAMES, *names), why, edits=(Edit("put", FILE, (made,)),)
    )


# ---- the same settings


@st.composite
def _written(draw: DrawFn) -> Case:
    """Draw another way to write the same settings."""
    numbers = {
        "seed": draw(st.sampled_from(["42", "0x2A", "!!int 42", "+42", "4_2", "0b101010"])),
        "rate": draw(st.sampled_from(["0.01", "1e-2", "1.0e-2", "!!float 0.01", ".01", "10.0e-3", "0.010"])),
        "steps": draw(st.sampled_from(["2", "!!int 2", "0x2"])),
        "r": draw(st.sampled_from(["2", "!!int '2'", '!!int "2"'])),
    }
    step = draw(st.integers(1, 9))
    parts = draw(
        st.permutations(
            [
                [f"seed: {numbers['seed']}"],
                ["trainer:", f"{' ' * step}learning_rate: {numbers['rate']}",
                f"{' ' * step}max_steps: {numbers['steps']}"],
                draw(st.sampled_from([["adapter:", f"{' ' * step}r: {numbers['r']}"],
                [f"adapter: {{r: {numbers['r']}}}"], [f'"adapter": {{ "r" : {numbers["r"]} , }}']])),
            ]
        )
    )  # fmt: skip
    between = draw(st.sampled_from(["", "\n", "# a comment: [\n", "   \n", "#\n\n"]))
    comment = draw(st.sampled_from(["", "  # ü {", " #"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    begin, last = draw(st.sampled_from([("", ""), ("---\n", ""), ("---\n", "...\n"), ("%YAML 1.1\n---\n", "")]))
    text = (
        HEAD
        + begin
        + between.join(
            "".join(f"{line}{comment if ':' in line and not line.endswith(':') else ''}\n" for line in part)
            for part in parts
        )
        + last
    )
    return _case("written differently", Expect.SAME, text.replace("\n", end))


@st.composite
def _json(draw: DrawFn) -> Case:
    indent = draw(st.sampled_from([None, 0, 1, 2, 7]))
    return _case(
        "as JSON",
        Expect.SAME,
        HEAD
        + json.dumps(SETTINGS, indent=indent, sort_keys=draw(st.booleans()))
        + draw(st.sampled_from(["", "\n", "\n\n"])),
    )


@st.composite
def _aliases(draw: DrawFn) -> Case:
    """Draw anchors, aliases and merged keys that say the same."""
    name = draw(st.sampled_from(["a", "A-1", "x_y", "long" * 20]))
    text = draw(
        st.sampled_from(
            [
                f"seed: 42\ntrainer:\n  learning_rate: 0.01\n  max_steps: &{name} 2\nadapter:\n  r: *{name}\n",
                f"seed: 42\ntrainer: &{name}\n  learning_rate: 0.01\n  max_steps: 2\nadapter:\n  r: 2\n",
                f"seed: &{name} 42\ntrainer: {{learning_rate: 0.01, max_steps: 2}}\nadapter: {{r: 2}}\n",
                f"seed: 42\ntrainer:\n  <<: &{name} {{max_steps: 2}}\n  learning_rate: 0.01\nadapter: {{r: 2}}\n",
                f"seed: 42\ntrainer:\n  <<: [&{name} {{max_steps: 2}}, {{learning_rate: 0.01}}]\nadapter: {{r: 2}}\n",
                f"seed: 42\nadapter: {{r: 2}}\ntrainer:\n  <<: &{name} {{max_steps: 5, learning_rate: .01}}\n"
                "  max_steps: 2",
            ]
        )
    )
    return _case("aliases and merged keys", Expect.SAME, HEAD + text)


@st.composite
def _defaults(draw: DrawFn) -> Case:
    """Draw defaults lists that choose what is chosen anyway."""
    chosen = (
        "override /trainer: hf",
        "override /adapter: lora",
        "override /quantization: none",
        "override /launch: single",
    )
    entries = draw(st.lists(st.sampled_from(chosen), max_size=3, unique=True))
    entries.insert(draw(st.integers(0, len(entries))), "_self_")
    shown = "".join(f"  - {each}\n" for each in entries)
    return _case("a defaults list", Expect.SAME, f"{HEAD}defaults:\n{shown}{BLOCK.removeprefix(HEAD)}")


@st.composite
def _long(draw: DrawFn) -> Case:
    """Draw comments as large as a file may be."""
    size = draw(st.integers(1, 90_000))
    comment = draw(
        st.sampled_from(["# " + "x" * size + "\n", "#\n" * (size // 2), "\n" * size, "# ü" * (size // 4) + "\n"])
    )
    return _case("long comments", Expect.SAME, HEAD + comment + BLOCK.removeprefix(HEAD))


# ---- what cannot be read

BAD_LINES: tuple[tuple[str, str], ...] = (
    ("a tag of Python", "name: !!python/object/apply:os.getcwd []"),
    ("a tag of Python", "name: !!python/name:os.system"), ("a tag of Python", "name: !!python/tuple [1]"),
    ("an unknown tag", "name: !foo x"), ("an unknown tag", "name: !<tag:x,2000:y> x"),
    ("a number that is none", "seed: !!int abc"), ("a number that is none", "trainer: {learning_rate: !!float x}"),
    ("a set", "trainer: !!set {a, b}"), ("a map that is a text", "trainer: !!map x"), ("bytes", "name: !!binary //79"),
    ("a date", "seed: 2001-01-01"), ("a time", "seed: 2001-12-14t21:59:43.10-05:00"),
    ("a key of null", "~: 1"), ("a key that is a list", "[a, b]: 1"), ("a key that is a map", "{a: 1}: 1"),
    ("a key that is a list", "? [a]\n: 1"), ("a key of a number", "5: 1"), ("a key of a truth", "true: 1"),
    ("an alias of nothing", "name: *nope"), ("an alias of itself", "trainer: &a [*a]"),
    ("an alias of itself", "trainer: &a {b: *a}"), ("a merged key of a text", "<<: x"),
    ("a merged key of a list", "<<: [1]"),
    ("no end of a list", "stages: [plan"), ("no end of a map", "trainer: {a: 1"), ("no end of a text", 'name: "x'),
    ("no end of a text", "name: 'x"), ("a tab", "trainer:\n\tmax_steps: 3"),
    ("a tab", "\tseed: 1"), ("a bad indentation", "trainer:\n   a: 1\n  b: 2"), ("two colons", "name: a: b"),
    ("a reserved character", "name: @x"), ("a reserved character", "name: `x`"), ("a reserved character", "name: %x"),
    ("a key twice", "seed: 1\nseed: 2"), ("a key twice", "trainer: {max_steps: 1}\ntrainer: {max_steps: 2}"),
    ("two documents", "---\nseed: 1\n---\nseed: 2"), ("a list", "- 1\n- 2"), ("a word", "word"), ("a number", "5"),
    ("an unknown key", "sed: 1"), ("an unknown key", "trainer: {max_step: 3}"), ("an unknown key", "trainer: {'': 3}"),
    ("an unknown key", "ключ: 1"), ("an unknown key", "sеed: 1"), ("a dot in a key", "trainer.max_steps: 3"),
    ("a wrong type", "seed: [1]"), ("a wrong type", "seed: x"), ("a wrong type", "seed: 1.5"),
    ("a wrong type", "seed: {a: 1}"), ("a wrong type", "trainer: 5"), ("a wrong type", "trainer: [1]"),
    ("a wrong type", "trainer: null"), ("a wrong type", "adapter: {r: x}"),
    ("a wrong type", "adapter: {r: [2]}"), ("a wrong type", "metric: 5"), ("a wrong type", "stages: plan,data"),
    ("a wrong type", "adapter: {target_modules: [[q_proj]]}"), ("a wrong type", "name: {a: b}"),
    ("a wrong type", "trainer: {learning_rate: yes}"), ("a wrong type", "seed: null"),
    ("out of range", "adapter: {r: 0}"), ("out of range", "trainer: {learning_rate: .nan}"),
    ("out of range", "trainer: {learning_rate: .inf}"), ("out of range", "trainer: {max_steps: -2}"),
    ("out of range", "seed: -1"), ("out of range", "seed: 1e400"), ("out of range", "trainer: {max_seq_length: 0}"),
    ("an interpolation without an end", "name: ${"), ("an interpolation without an end", "name: ${oc.env:HOME"),
    ("an interpolation of nothing", "name: ${nope}"), ("an interpolation of nothing", "name: ${oc.env:NOPE_NOPE}"),
    ("an interpolation of itself", "name: ${name}"), ("an unknown resolver", "name: ${nope:1}"),
    ("an interpolation of nothing", "name: ${}"), ("nested interpolations", "name: " + "${" * 200 + "}" * 200),
    ("defaults that are a map", "defaults: {a: b}"), ("defaults that are a text", "defaults: x"),
    ("defaults with a number", "defaults: [5]"), ("defaults with null", "defaults: [null]"),
    ("defaults with a path", "defaults: [/etc/passwd]"), ("defaults with a path", "defaults: [../../x]"),
    ("defaults of itself", "defaults: [mine]"), ("defaults of itself", "defaults: [/experiment/mine]"),
    ("defaults with an unknown option", "defaults: [override /trainer: nope]"),
    ("defaults with an unknown group", "defaults: [override /nope: x]"),
    ("defaults without override", "defaults: [/trainer: hf]"), ("defaults with a list", "defaults: [[a]]"),
    ("defaults with a map", "defaults: [{a: {b: c}}]"), ("defaults twice", "defaults: [_self_, _self_]"),
    ("defaults with an interpolation", "defaults: ['${nope}']"),
    ("code", "trainer: {_target_: os.system}"), ("code", "hydra: {job_logging: {handlers: {x: {class: os.system}}}}"),
    ("code", "plugins: [/tmp/x.py]"), ("code", "hydra: {launcher: {_target_: os.system}}"), ("Hydra", "hydra: 5"),
    ("Hydra", "hydra: {run: {dir: /}}"), ("Hydra", "hydra: {job: {env_set: {A: b}}}"),
)  # fmt: skip


@st.composite
def _bad_line(draw: DrawFn) -> Case:
    """Draw a bad line among good ones."""
    what, line = draw(st.sampled_from(BAD_LINES))
    key = line.partition(":")[0].strip("\t'\"?{[ ")
    first = line.split("\n", 1)[0]
    rest = (
        BLOCK
        if key not in {"seed", "trainer", "adapter"}
        else HEAD + "trainer:\n  max_steps: 2\n" * (key != "trainer") + "adapter: {r: 2}\n" * (key != "adapter")
    )
    number = draw(st.integers(0, 3))
    padding = "".join(f"# {number}\n" for number in range(number))
    before = draw(st.booleans()) and first == line
    text = f"{HEAD}{padding}{line}\n{rest.removeprefix(HEAD)}" if before else f"{rest}{padding}{line}\n"
    names = tuple(each for each in (key, "hydra", "trainer", "adapter") if len(each) > 2 and each in line)
    return _case(what, Expect.REFUSED, text, *names)


@st.composite
def _bytes(draw: DrawFn) -> Case:
    """Draw a file that is not text, or has characters that YAML does not allow."""
    control = chr(draw(st.sampled_from([0, 1, 7, 8, 11, 12, 27, 127, 0x80, 0x9F, 0xFFFE])))
    what, content = draw(
        st.sampled_from(
            [
                ("a control character",
                    BLOCK.replace("42", f"4{control}2").encode()),
                ("another encoding",
                    (BLOCK + "# é\n").encode(draw(st.sampled_from(["latin-1", "utf-32", "utf-16-le", "cp1252"])))),
                ("a byte that is not UTF-8",
                    BLOCK.encode() + b"# " + draw(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80",
                    b"\xf8\x88\x80\x80\x80"])) + b"\n"),
                ("nulls", bytes(draw(st.integers(1, 5000)))), ("nothing", b""), ("a comment only", HEAD.encode()),
                ("null", b"null\n"), ("white space", b" \n\n"), ("a picture", b"\x89PNG\r\n\x1a\n"),
                ("too large", (BLOCK + "#" * (draw(st.integers(1 << 20, 1 << 21)))).encode()),
            ]
        )
    )  # fmt: skip
    return _case(f"the file: {what}", Expect.REFUSED, content)


@st.composite
def _sizes(draw: DrawFn) -> Case:
    """Draw a file with more levels or values than any settings have."""
    depth, wide = draw(st.integers(51, 5000)), draw(st.integers(20_000, 150_000))
    width, times = draw(st.integers(100, 400)), draw(st.integers(100, 400))
    keys = ",".join(f"k{at}: 1" for at in range(width))
    what, text = draw(
        st.sampled_from(
            [
                ("lists in lists", "name: " + "[" * depth + "]" * depth),
                ("maps in maps", "name: " + "{a: " * depth + "}" * depth),
                ("blocks in blocks", "name:\n" + "".join(f"{' ' * (at + 1)}a:\n" for at in range(min(depth, 1000)))),
                ("many values", "name: [" + "1," * wide + "]"),
                ("many keys", "".join(f"k{at}: 1\n" for at in range(wide // 4))),
                ("lists in a block", "name:\n" + "- 1\n" * (wide // 2)), ("an open bracket", "[" * depth),
                ("a question", "? " * depth),
                ("aliases", f"a: &a [{'1,' * width}]\nname: [{'*a,' * times}]"),
                ("aliases of aliases",
                    "a0: &a0 [1,1]\n" + "".join(f"a{at}: &a{at} [*a{at - 1},*a{at - 1}]\n" for at in range(1,
                    draw(st.integers(18, 60))))),
                ("merged keys",
                    f"a: &a {{{keys}}}\n" + "".join(f"b{at}:\n  <<: *a\n" for at in range(times))),
                ("a long key", f"{'k' * draw(st.integers(1025, 100_000))}: 1"),
                ("quotes", "name: " + "'" * (2 * depth + 1)),
            ]
        )
    )  # fmt: skip
    return _case(f"sizes: {what}", Expect.REFUSED, f"{HEAD}{text}\n")


SPECIAL: tuple[tuple[str, tuple[Edit, ...]], ...] = (
    ("a pipe", (Edit("pipe", FILE),)), ("a folder", (Edit("folder", FILE),)),
    ("a socket", (Edit("folder", "conf/experiment"), Edit("listen", FILE))),
    ("a link to itself", (Edit("link", FILE, ("mine.yaml",)),)),
    ("a link to a device", (Edit("link", FILE, ("/dev/zero",)),)),
    ("a link to nowhere", (Edit("link", FILE, ("gone",)),)), ("gone", (Edit("folder", "conf/experiment"),)),
    ("another ending", (Edit("put", "conf/experiment/mine.yml", (BLOCK.encode(),)),)),
)  # fmt: skip


def _special(which: tuple[str, tuple[Edit, ...]]) -> Case:
    what, edits = which
    return Case("yaml_structure", f"the file: {what}", LINE, Expect.REFUSED, "plan", NAMES, edits=edits)


@st.composite
def _presets(draw: DrawFn) -> Case:
    """Draw a preset of a group, good or bad."""
    what, expect, text = draw(
        st.sampled_from(
            [
                ("sound", Expect.SAME, "defaults: [hf]\n"),
                ("sound", Expect.SAME, "defaults:\n  - hf\n  - _self_\nmax_steps: 2\n"),
                ("a number", Expect.REFUSED, f"{draw(st.integers())}\n"), ("a list", Expect.REFUSED, "- a\n"),
                ("a text", Expect.REFUSED, "x\n"),
                ("an unknown key", Expect.REFUSED, f"defaults: [hf]\nx_{draw(st.text('abc', max_size=4))}: 1\n"),
                ("no option", Expect.REFUSED, "max_steps: 2\n"), ("of itself", Expect.REFUSED, "defaults: [mine]\n"),
                ("nothing", Expect.REFUSED, ""), ("of an unknown option", Expect.REFUSED, "defaults: [nope]\n"),
                ("a wrong type", Expect.REFUSED,
                f"defaults: [hf]\nmax_steps: {draw(st.sampled_from(['x', '[1]', '{a: 1}', '1.5']))}\n"),
                ("bytes", Expect.REFUSED, "defaults: [hf]\nname: \x00\n"),
                ("of another group", Expect.REFUSED, "defaults: [/adapter: lora]\n"),
            ]
        )
    )  # fmt: skip
    own = "trainer=mine"
    edit = Edit("put", "conf/trainer/mine.yaml", (text.encode(),))
    return Case(
        "yaml_structure",
        f"a preset: {what}",
        words("stages=[plan]", own),
        expect,
        "plan",
        ("mine", "trainer"),
        edits=(edit,),
    )


CASES = st.one_of(
    _written(),
    _written(),
    _json(),
    _aliases(),
    _defaults(),
    _long(),
    _bad_line(),
    _bad_line(),
    _bad_line(),
    _bytes(),
    _sizes(),
    st.sampled_from(SPECIAL).map(_special),
    _presets(),
)
