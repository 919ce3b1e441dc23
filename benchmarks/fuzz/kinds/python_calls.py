"""What is handed to the Python entry: `framework.train`, `load_report`, `load_model` and `answer`, from anywhere."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import DONE, SOUND, Case, Expect, Process
from benchmarks.fuzz.kinds.pieces import JSON, KEYS

WHY = "arguments are drawn, and some are right"
HEAD = """
import asyncio, collections, contextlib, datetime, decimal, enum, fractions, itertools, pathlib, threading
import numpy, torch
import framework
from pathlib import Path
RING = []
RING.append(RING)
LOOP = {}
LOOP["trainer"] = LOOP
class Odd:
    def __repr__(self):
        raise ValueError("no repr")
    def __iter__(self):
        raise RuntimeError("no items")
    def __fspath__(self):
        raise RuntimeError("no path")
class Word(str):
    pass
class Kind(enum.Enum):
    one = 1
"""
ATOMS = (
    "None", "True", "False", "0", "-1", "5", "1.5", "float('nan')", "float('inf')", "10 ** 400", "''", "'a'", "'a=1'",
    "'trainer.max_steps=2'", "b'a=1'", "bytearray(b'a')", "object()", "Odd()", "Word('a=1')", "Kind.one", "Path('a')",
    "1j", "numpy.float64(1)", "numpy.int64(1)", "numpy.zeros(2)", "torch.zeros(2)", "torch.tensor(1)", "lambda: 1",
    "int",
    "decimal.Decimal(1)", "fractions.Fraction(1, 2)", "datetime.date.today()", "RING", "LOOP", "...", "NotImplemented",
    "'\\ud800'", "'\\0'", "'a' * 100000", "range(3)", "iter([])", "set()", "frozenset('a')",
    "collections.OrderedDict()",
    "collections.Counter()", "itertools.repeat", "(x for x in ['a=1'])", "threading.Lock()", "'\\x1b[31m'", "'-m'",
    "'~x'",
    "'--help'", "'--version'", "'--cfg'", "'a\\nb=1'", "'=1'", "'a='", "'+a=1'", "'hydra.mode=MULTIRUN'",
)  # fmt: skip
NOTHING = {"[]", "{}", "()", "iter([])", "set()", "collections.OrderedDict()", "collections.Counter()"}
"""What changes no setting: `train` would train the real model of the quickstart."""
MUTABLE = ("RING", "LOOP", "bytearray", "numpy.zeros", "torch.zeros", "set()", "collections.")
HASHABLE = [each for each in ATOMS if not each.startswith(MUTABLE)]
PLACES = (
    "'done'",
    "Path('done')",
    "'nope'",
    "'.'",
    "'done/adapter'",
    "'done/report.json'",
    "'s3://'",
    "'memory://x/y'",
)
AROUND = (
    "act()", "act()", "act()", "with torch.no_grad(): act()", "with torch.inference_mode(): act()",
    "t = threading.Thread(target=safe); t.start(); t.join()\nif failed: raise failed[0]",
    "asyncio.run(asyncio.to_thread(act))", "asyncio.run(later())", "act(); act()",
    "with framework.load_model('done') as m:\n    act()\n    assert m.answer(['Say A.'], max_new_tokens=1)",
    "torch.set_grad_enabled(False); act()", "torch.set_default_dtype(torch.float64); act()",
)  # fmt: skip
GOOD = (
    "[*SOUND]", "SOUND_MAP", "{**SOUND_MAP, 'trainer': {'max_steps': 2}}", "(x for x in SOUND)", "tuple(SOUND)",
    "{**SOUND_MAP, 'trainer.max_steps': numpy.int64(2)}", "{**SOUND_MAP, 'data.path': Path(SOUND_MAP['data.path'])}",
)  # fmt: skip


@st.composite
def _value(draw: DrawFn, depth: int = 2) -> str:
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind in {0, 1, 2}:
        return draw(st.sampled_from(ATOMS))
    if kind == 3:
        return f"[{', '.join(draw(st.lists(_value(depth - 1), max_size=3)))}]"
    if kind == 4:
        return ascii(draw(JSON))
    pairs = draw(st.lists(st.tuples(st.sampled_from([*map(repr, KEYS), *ATOMS[:12]]), _value(depth - 1)), max_size=3))
    return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"


@st.composite
def _settings(draw: DrawFn) -> str:
    """Draw the argument of `train`: most of it right, so that it comes as far as what is not."""
    kind, key = draw(st.integers(0, 5)), draw(st.sampled_from(KEYS))
    if kind == 0:
        return draw(st.sampled_from(GOOD))
    if kind == 1:
        return f"[*SOUND, {draw(_value())}]"
    if kind in {2, 3}:
        return f"{{**SOUND_MAP, {key!r}: {draw(_value())}}}"
    if kind == 4:
        return f"{{**SOUND_MAP, {draw(st.sampled_from(HASHABLE))}: {draw(_value())}}}"
    return draw(_value().filter(lambda value: value not in NOTHING))


@st.composite
def _calls(draw: DrawFn) -> Case:
    what = draw(st.sampled_from(["train", "train", "train", "load_report", "load_model", "answer", "answer"]))
    place = draw(st.sampled_from(PLACES) | _value())
    if what == "train":
        act = f"framework.train({draw(_settings())})"
    elif what == "load_report":
        act = f"framework.load_report({place})"
    elif what == "load_model":
        more = draw(st.sampled_from(["", f", {draw(_value())}", ", ['trainer.device=cpu']"]))
        act = f"framework.load_model({place}{more}).__enter__()"
    else:
        name = draw(st.sampled_from(["max_new_tokens", "system_prompt", "nope"]))
        more = draw(st.sampled_from(["", f", {name}={draw(_value())}"]))
        prompts = draw(st.sampled_from(["['Say A.']", "[]", "('a', 'b')"]) | _value())
        act = (
            f"with framework.load_model('done') as model:\n        said = model.answer({prompts}{more})\n"
            "        assert all(isinstance(one, str) for one in said)"
        )
    if ", nope=" in act:
        act = act.replace(", nope=", ", max_new_tokens=2, system_prompt=")
    text = (
        f"{HEAD}SOUND = {list(SOUND['run'].words)!r}\nSOUND_MAP = dict(one.split('=', 1) for one in SOUND)\n"
        "SOUND_MAP = {key: value for key, value in SOUND_MAP.items() if value[0] != '['} | {'stages': "
        "['data', 'train', 'report'], 'evaluator': [], 'exporter': [], 'audit': [], 'metric': [], 'logger': []}\n"
        f"failed = []\ndef act():\n    {act}\n"
        "def safe():\n    try:\n        act()\n    except BaseException as error:\n        failed.append(error)\n"
        f"async def later():\n    act()\n{draw(st.sampled_from(AROUND))}\n"
    )
    return Case("python_calls", what, (), Expect.ANY, "none", why=WHY, edits=(DONE,), process=Process(python=text))


CASES: SearchStrategy[Case] = _calls()
