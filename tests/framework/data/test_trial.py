"""framework/data/trial.py: what is wrong with the first rows is reported before the backend is opened."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.records import RawData, Row
from framework.api.selection import Selection
from framework.data import sources, trial
from framework.run import pipeline
from framework.rundir.known import size_of

GOOD = {"instruction": "say", "output": "it"}
ENDS = {"messages": [{"role": "user", "content": "say"}]}


def planned(path: Path, *words: str) -> Plan:
    return testing.plan(["data=local_file", f"data.path={path}", *words], run_dir=path.parent / "run")


def tried(plan: Plan) -> None:
    trial.try_sources(plan.data, plan.format, plan.method)


def lines(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("rows", "words", "problem"),
    [
        ([ENDS] * 30, (), r"^rows\.jsonl:1, rows\.jsonl:2 … .*ends with 'user'.*\nand 20 more rows, all of them$"),
        ([GOOD, *[ENDS] * 30], (), r"^rows\.jsonl:2, .*ends with 'user'.*\nand 20 more rows; data\.on_bad_row=skip"),
        ([GOOD, *[{"a": 1}] * 2, *[GOOD] * 9, {"a": 1}], (), r"^rows\.jsonl:2, rows\.jsonl:3, rows\.jsonl:13: no form"),
        ([{"a": 1}] * 3, ("data.on_bad_row=skip",), r"rows\.jsonl has no rows: all 3 are bad, the first is rows\."),
        ([GOOD] * 3, ("format.columns={input: question}",), r"^format\.columns\.input=question is in no row"),
        ([], (), r"rows\.jsonl is empty"),
        ([GOOD, {}], ("data.max_rows=1", "data.mix=[{path: none.jsonl, count: 1}]"), "there is no data file none"),
    ],
)
def test_what_is_wrong_is_reported_before_the_backend_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], words: Sequence[str], problem: str
) -> None:
    monkeypatch.setattr(testing.EchoBackend, "open", lambda *_: pytest.fail("the libraries load"))
    with pytest.raises(FrameworkError, match=problem):
        pipeline.run(planned(lines(tmp_path, rows), *words))
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_several_faults_of_a_table_are_reported_together_with_a_command_that_fixes_all(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_bytes("id;Customer message;Our reply\n1;Where is my café?; It is here.\n".encode("cp1252"))
    with pytest.raises(FrameworkError) as caught:
        trial.try_sources(*_selected(planned(file, "trainer.max_steps=2")))
    encoding, columns, space, command = str(caught.value).splitlines()
    assert "set data.encoding=cp1252" in encoding
    assert 'type "format.columns={instruction: Customer message, output: Our reply}"' in columns
    assert space == "shop.csv:2: an answer begins with white space: format.strip=true removes it"
    words = shlex.split(command.partition("-m framework ")[2])
    assert {"data=local_file", f"data.path={file}", "trainer.max_steps=2", "format.strip=true"} <= {*words}
    trial.try_sources(*_selected(testing.plan(words, run_dir=tmp_path / "run")))


def _selected(plan: Plan) -> tuple[Any, ...]:
    return plan.data, plan.format, plan.method, plan.overrides


def test_good_rows_are_tried_for_a_moment_and_bad_ones_that_are_skipped_or_not_drawn_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0)
    file = lines(tmp_path, [GOOD, {"a": 1}, GOOD])
    tried(planned(file))  # the second row is not looked at
    monkeypatch.undo()
    with pytest.raises(FrameworkError, match=r"^rows\.jsonl:2: no format fits"):
        tried(planned(file))
    tried(planned(file, "data.on_bad_row=skip"))
    tried(planned(file, "data.max_rows=1", f"data.mix=[{{path: {file}, count: 1}}]"))
    other = lines(tmp_path, [{"a": 1}] * 3).rename(tmp_path / "other.jsonl")
    plan = planned(lines(tmp_path, [GOOD]), f"data.mix=[{{path: {other}, count: 1}}]")
    with pytest.raises(FrameworkError, match=r"^other\.jsonl:1, other\.jsonl:2, other\.jsonl:3: no format fits"):
        tried(plan)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["train"]),
        (("data.validation_path={0}/held.jsonl",), ["held"]),
        (("data.validation_path={0}/held.jsonl", "data.prompts_path={0}/asked.jsonl"), ["asked"]),
        (("data.prompts_path={0}/asked.jsonl", "evaluator.prompts.file={0}/own.jsonl"), ["own"]),
        (("data.prompts_path={0}/asked.jsonl", "evaluator=[]"), []),
    ],
)
def test_a_plan_looks_at_the_references_that_the_run_will_compare_with(
    tmp_path: Path, words: Sequence[str], found: list[str]
) -> None:
    for name in ("held", "asked", "own", "train"):
        lines(tmp_path, [{"instruction": "say", "output": name}]).rename(tmp_path / f"{name}.jsonl")
    words = [word.format(tmp_path) for word in words]
    plan = planned(tmp_path / "train.jsonl", *words)
    assert trial.first_references(plan.data, plan.format, plan.method, plan.evaluator) == found


def test_a_sample_of_the_first_rows_tells_about_how_many_tokens_all_have(tmp_path: Path) -> None:
    rows = [{"instruction": "e" * 80, "output": "a" * 120, "id": "x" * 50} for _ in range(300)]
    file = lines(tmp_path, rows)
    run = planned(file)
    first = trial.try_sources(run.data, run.format, run.method)
    assert (first.rows, first.turns, first.bytes, first.learned_bytes) == (200, 400, 200 * 200, 200 * 120)
    assert first.total == 300
    estimate = first.estimate(0, 0.1, 2048)
    assert estimate is not None
    assert (estimate.rows, estimate.tokens, estimate.supervised_tokens) == (270, 270 * 70, 270 * 42)
    # A sample of a file that is too long to be read at once, by the size of the file.
    sampled = dataclasses.replace(first, total=0).estimate(size_of(run.data), 0.1, 2048)
    assert sampled is not None
    assert sampled.rows == pytest.approx(270, rel=0.05)
    assert dataclasses.replace(first, total=0).estimate(0, 0.1, 2048) is None


def refusing() -> RawData:
    raise URLError("no route")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (refusing, r"the source failed: URLError: <urlopen error no route> \(.*test_trial\.py:\d+\)$"),
        (lambda: [{"a": 1}], r"(load|check) returned \[\{'a': 1\}\]: return RawData"),
        (lambda: RawData([{"a": 1}]), r"the source gave the row \{'a': 1\}: make each a Row"),  # type: ignore[list-item]
    ],
)
def test_a_mistake_of_a_source_is_one_line_that_names_it(made: Callable[[], Any], problem: str) -> None:
    class Own:
        load = check = staticmethod(made)

    asking: list[Any] = [sources.load, sources.check]
    for ask in asking:
        with pytest.raises(FrameworkError, match=rf"^data=local_file: {problem}"):
            list(ask("local_file", Own()).train)


def test_a_source_may_give_no_rows_to_try(tmp_path: Path) -> None:
    class Checked(Selection):
        def create(self) -> Any:
            class Source:
                def check(self) -> None:
                    """Nothing is wrong."""

                def load(self) -> RawData:
                    return RawData([Row(GOOD, "a")])

            return Source()

    plan = planned(lines(tmp_path, [GOOD]))
    tried(dataclasses.replace(plan, data=Checked(plan.data.component, plan.data.config)))
