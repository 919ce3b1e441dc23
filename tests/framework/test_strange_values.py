"""What a part of a run returns may be anything: the message names the part and the value, whatever its code raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import project

ROWS = "".join(f'{{"question": "What is {n}?", "solution": "it is {n}"}}\n' for n in range(12))
HEAD = '''
from dataclasses import dataclass

import numpy as np

from framework import Component, exporter, formatter, hookimpl, metric
from framework.api import (
    DataConfig, EvalResult, Evaluator, EvaluatorConfig, Example, Measure, Message, RawData, Row, Source
)


class Odd:
    def fail(self, *_):
        raise RuntimeError("boom")

    __len__ = __iter__ = __bool__ = __eq__ = __float__ = __repr__ = fail
    __hash__ = None


ZERO, ODD, HUGE, ASKED = np.array(1.0), Odd(), 10**400, Message("user", "a")


@formatter("question", "solution")
def mine(row):
    """Return VALUE."""
    return VALUE


@metric
def polite(answer):
    """Return VALUE."""
    return VALUE


@exporter
def file(model, context):
    """Return VALUE."""
    return VALUE


@dataclass
class LookConfig(EvaluatorConfig):
    """None."""


class Look(Evaluator):
    def __init__(self, config):
        self.config = config

    def evaluate(self, model, data, metrics):
        return VALUE


class Looks(Look):
    def looks(self, model, data, metrics):
        return VALUE


@dataclass
class LooksConfig(EvaluatorConfig):
    """None."""


@dataclass
class GivenConfig(DataConfig):
    """None."""


class Given(Source):
    def __init__(self, config):
        self.config = config

    def load(self):
        return VALUE


@hookimpl
def framework_components():
    yield Component("look", LookConfig, f"{__name__}:Look")
    yield Component("looks", LooksConfig, f"{__name__}:Looks")
    yield Component("given", GivenConfig, f"{__name__}:Given")
'''
READ = ["data=local_file", "data.path=rows.jsonl"]
COLUMNS = [*READ, "format.columns={prompt: question, completion: solution}"]
LOOK = [*COLUMNS, "evaluator=[look]"]


def turns(**parts: str) -> str:
    """Return an `Example` with another part."""
    values = {"messages": '(ASKED, Message("assistant", "b"))', **parts}
    return f"Example({', '.join(f'{name}={value}' for name, value in values.items())}, format='mine')"


FORMATS = {
    "ZERO": "returned array(1.): return pairs of role and text, or an Example",
    "ODD": "returned a value of the type Odd: return pairs of role and text, or an Example",
    "'user: a'": "returned 'user: a': return pairs",
    "[ODD]": "returned the turn a value of the type Odd: make each a pair of role and text",
    "[('user', 'a'), ('assistant', ZERO)]": "makes the assistant's turn ndarray, not text",
    "[(ODD, 'a')]": "returned a turn with role=a value of the type Odd; valid: system, user, assistant, tool",
    turns(messages="ODD"): "returned messages=a value of the type Odd: give a tuple of Message(role, content)",
    turns(messages="(ASKED, Message('assistant', 'b', ODD))"): "returned tool_calls=a value of the type Odd: give a",
    turns(tools="ZERO"): "returned tools=array(1.): give a tuple of JSON schemas",
    turns(facts="ODD"): "returned facts=a value of the type Odd: give a dict with names as keys",
    turns(facts="{'weight': ZERO}"): "returned the fact weight=array(1.): give a finite int or float",
    turns(facts="{'weight': HUGE}"): "returned the fact weight=1000",
    turns(arrays="{'ids': [ODD]}"): ": the array ids is not a table of numbers",
}


@pytest.mark.parametrize(
    ("value", "words", "text"),
    [
        *((value, [*READ, "format=mine"], f"format=mine{'' if text[0] == ':' else ' '}{text}")
          for value, text in FORMATS.items()),
        ("5", READ, "format=mine returned 5: return pairs"),  # chosen by `format=auto`
        ("ODD", ["data=given"], "data=given: load returned a value of the type Odd: return RawData(train="),
        ("RawData([ODD])", ["data=given"], "data=given: the source gave the row a value of the type Odd: make each"),
        ("RawData([Row(ZERO, 'r')])", ["data=given"], "data=given: the source gave a row with fields=array(1.): give"),
        ("[ODD]", [*COLUMNS, "metric=[polite]"], "metric 'polite' cannot score the answer 'What is "),
        ("ZERO", [*COLUMNS, "exporter=[file]"], "exporter file returned array(1.): return a list with an Artifact("),
        ("[ODD]", [*COLUMNS, "exporter=[file]"], "exporter file returned a value of the type Odd: return a list with"),
        ("ODD", LOOK, "evaluator=look returned a value of the type Odd: return an EvalResul"),
        ("EvalResult(ODD)", LOOK, "evaluator=look returned measures=a value of the type Odd"),
        ("EvalResult({'m': ZERO})", LOOK, "evaluator=look returned array(1.) as m: return a"),
        ("EvalResult({'m': Measure(ODD)})", LOOK, "as the value of m: return an int or float"),
        ("EvalResult({'m': Measure(HUGE)})", LOOK, "as the value of m: return an int or floa"),
        ("EvalResult({'m': Measure(1, [ODD])})", LOOK, "evaluator=look returned items=a valu"),
        ("EvalResult({}, ODD)", LOOK, "evaluator=look returned samples=a value of the type "),
        ("ZERO", [*COLUMNS, "evaluator=[looks]"], "evaluator=looks: looks returned array(1.): return 1 or more"),
    ],
)  # fmt: skip
def test_a_strange_value_is_an_error_of_the_part_that_returned_it(
    tmp_path: Path, value: str, words: list[str], text: str
) -> None:
    files = {"rows.jsonl": ROWS, "mine.py": HEAD.replace("return VALUE", f"return {value}")}
    done = project(tmp_path / "place", files).echo("plugins=[./mine.py]", "run_dir=run", *words)
    assert (done.code, text in done.err, "Traceback" in done.err) == (2, True, False), done.err
