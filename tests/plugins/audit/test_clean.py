"""`audit.standard.clean`: the rows that are left are read again to the same rows, and the others are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.data import Data
from framework.api.records import Example
from framework.data.stage import load_data

NAMES = ["Ann", "Bob", "Cid", "Dan", "Eva", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Lea", "Max", "Nia", "Ole"]
PLACES = ["Oslo", "Lima", "Rome", "Cairo", "Accra", "Paris", "Kyoto", "Delhi", "Quito", "Perth", "Malmo", "Turin"]
THINGS = ["bridge", "lamp", "violin", "ladder", "carpet", "kettle", "wagon", "mirror", "basket", "anchor", "candle"]


def row(number: int) -> dict[str, Any]:
    name, place, thing = NAMES[number % 15], PLACES[number * 7 % 12], THINGS[number * 5 % 11]
    asked = f"{name} plans to carry the {thing} number {number} from {place}; what does {name} need first?"
    return {"instruction": asked, "output": f"A permit {number * 37} of {place} for the {thing}", "id": number}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def run(folder: Path, *words: str) -> tuple[Data, dict[str, Example]]:
    plan = testing.plan(["data=local_file", *words], run_dir=folder / "run")
    model = testing.EchoModel(plan)
    return load_data(plan, model), model.examples


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


ASKED = {"role": "user", "content": "Which drum is mine?"}
CALLS = [{"type": "function", "function": {"name": "find", "arguments": json.dumps({"what": None, "n": 1})}}]
MANY: list[dict[str, Any]] = [
    {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": CALLS}], "tools": [{"name": "find"}]},
    {"conversations": [{"from": "human", "value": "Öl? 🙂"}, {"from": "gpt", "value": "Nein", "weight": 1}]},
    {"prompt": "Whose wagon?", "chosen": "It is Ida's wagon", "rejected": "no"},
    {"question": "What is in the basket?", "answer": "Candles and a mirror"},
    {"text": "The anchor of Malmo is old, and nobody has moved it since.", "url": "\ud800"},
]


def test_the_rows_that_are_left_are_read_again_to_the_same_conversations(tmp_path: Path) -> None:
    good = [*map(row, range(30)), *MANY]
    rows = [*good[:10], good[3], *good[10:], {**row(50), "output": " "}, {**row(51), "output": "cafÃ© of the artist"}]
    rows.append({**row(52), "instruction": ""})
    file, left = write(tmp_path / "rows.jsonl", [*rows, {"instruction": "no answer"}]), tmp_path / "out" / "clean.jsonl"
    words = [f"audit.standard.clean={left}", "data.on_bad_row=skip"]
    data, _ = run(tmp_path, f"data.path={file}", *words)
    assert lines(left) == good
    assert lines(left.with_name("clean.removed.jsonl")) == [
        {"where": "rows.jsonl:11", "why": ["duplicates"]},
        {"where": "rows.jsonl:37", "why": ["empty_answers"]},
        {"where": "rows.jsonl:38", "why": ["broken_encoding"]},
        {"where": "rows.jsonl:39", "why": ["empty_questions"]},
        {"where": "rows.jsonl:40", "why": ["bad_row"]},
    ]
    (said,) = (finding for finding in data.result.findings if finding.name == "cleaned")
    listed = left.with_name("clean.removed.jsonl")
    assert said.text == f"35 of 40 rows are left in {left}; {listed} lists the other 5, with place and reason"
    again, examples = run(tmp_path, f"data.path={left}", "data.validation_split=0", "audit=[]")
    _, first = run(tmp_path, f"data.path={write(tmp_path / 'good.jsonl', good)}", "data.validation_split=0", "audit=[]")
    assert [_bare(example) for example in examples.values()] == [_bare(example) for example in first.values()]
    assert again.result.bad_rows == 0
    found = {
        finding.name: finding.advice for finding in run(tmp_path, f"data.path={file}", words[1])[0].result.findings
    }
    assert found["empty_questions"].endswith("; audit.standard.clean=clean.jsonl writes the rows without them")
    assert "clean=" not in found["one_word_answers"]


def _bare(example: Example) -> Any:
    return example.messages, example.tools, example.rejected, example.text, example.format


def test_a_training_row_that_answers_what_is_held_out_goes_and_what_is_held_out_stays(tmp_path: Path) -> None:
    rows, held_out = [row(number) for number in range(40)], [row(number) for number in (3, 8, 60)]
    held_out[1]["instruction"] = held_out[1]["instruction"].replace("plans to carry", "would like to carry")
    left = tmp_path / "clean.jsonl"
    words = [f"data.path={write(tmp_path / 'rows.jsonl', rows)}", f"audit.standard.clean={left}"]
    run(tmp_path, *words, f"data.validation_path={write(tmp_path / 'held_out.jsonl', held_out)}")
    assert [kept["id"] for kept in lines(left)] == [number for number in range(40) if number not in (3, 8)]
    assert [gone["why"] for gone in lines(tmp_path / "clean.removed.jsonl")] == [["leaked"], ["leaked"]]


def test_rows_are_written_though_a_finding_is_fatal_or_was_kept(tmp_path: Path) -> None:
    rows, left = [row(number) for number in (*range(20), 4)], tmp_path / "clean.jsonl"
    words = [f"data.path={write(tmp_path / 'rows.jsonl', rows)}", f"audit.standard.clean={left}"]
    for _ in range(2):
        with pytest.raises(FrameworkError, match=r"^duplicates: 1 of "):
            run(tmp_path, *words, "audit.standard.fatal=[duplicates]", "data.validation_split=0")
        assert len(lines(left)) == 20
        left.unlink()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["audit.standard.clean=clean.json"], "audit.standard.clean=clean.json must end with .jsonl"),
        (
            ["audit.standard.clean=rows.jsonl"],
            "audit.standard.clean=rows.jsonl would be read as part of data.path=rows.j",
        ),
        (
            ["data.path=.", "audit.standard.clean=new/c.jsonl"],
            "would be read as part of data.path=.: write it elsewhere",
        ),
        (["data.learn=each", "audit.standard.clean=c.jsonl"], "which data.learn=each splits: set data.learn=last"),
        (
            ["data.cut=8", "audit.standard.clean=c.jsonl"],
            "audit.standard.clean writes whole rows, which data.cut=8 splits",
        ),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", [row(1)])
    with pytest.raises(FrameworkError) as caught:
        testing.plan(["data=local_file", "data.path=rows.jsonl", *words], run_dir=tmp_path / "run")
    assert text in str(caught.value)
