"""framework/data/stage.py with the echo model: what is counted, what is refused, and what is left of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import Component, FrameworkError, testing
from framework.api.audit import AuditData
from framework.api.data import Data
from framework.api.records import Example, Finding, Message, Progress, Severity, TokenRow, ToolCall
from framework.api.records.rows import call_text
from framework.api.schema import AuditConfig
from framework.api.scoring import with_reference
from framework.api.selection import Selection
from framework.api.text import facts_of
from framework.data.audit import StoredRows
from framework.data.stage import held_out_rows, load_data, spread_order
from framework.hooks.session import current

Rows = list[dict[str, str]]
Write = Callable[[Rows], Path]


def load(file: Path, run_dir: Path, *words: str, model: type[testing.EchoModel] = testing.EchoModel) -> Data:
    plan = testing.plan(["data=local_file", f"data.path={file}", *words], run_dir=run_dir)
    return load_data(plan, model(plan))


def test_loading_counts_what_will_be_learned(data_file: Path, tmp_path: Path) -> None:
    data = load(data_file, tmp_path)
    result = data.result
    assert (result.train_rows, result.validation_rows, result.prompts) == (18, 2, 2)
    assert result.formats == {"alpaca": 20}
    assert (result.tokens, result.supervised_tokens, result.longest) == (18 * 7, 18 * 4, 7)  # say 1 . it is 1 .
    assert (result.overflow_rows, result.overflow_supervised_tokens) == (0, 0)
    assert (result.proof.rows, result.proof.failed, result.proof.turns) == (20, 0, 20)
    assert result.proof.lowest_share == result.proof.mean_share == pytest.approx(4 / 7, abs=1e-6)
    assert (result.lengths.p50, result.lengths.longest, result.lengths.histogram[-1]) == (7, 7, 18)
    assert not result.cached


@pytest.mark.parametrize(("limit", "total"), [("null", 20), ("15", 15)])
def test_tokenizing_and_audit_are_counted_row_by_row(limit: str, total: int, data_file: Path, tmp_path: Path) -> None:
    sent: list[Progress] = []
    with current() as session:
        session.progress.send = sent.append
        load(data_file, tmp_path, f"data.max_rows={limit}")
    counted = {(one.task, one.done, one.total) for one in sent if one.done and one.done == one.total}
    assert counted >= {
        ("tokenizing", total, total),
        ("audit", total, total),
        ("near-duplicate questions", total, total),
    }
    assert {(one.unit, one.total) for one in sent} <= {("row", total), ("row", 0)}  # there are no prompts of its own


@pytest.mark.parametrize(
    ("prompts", "most"),
    [
        (["Be brief."] * 3 + ["Be kind.", None], "Be brief."),
        (["Be brief."] * 2 + ["Be kind."] * 2, ""),
        (["Be brief."] * 2 + [None] * 2, ""),
        ([None] * 3, ""),
        (["The key is AKIA" + "Z7QK4JW2MB6XT9RD."] * 2, "The key is (hidden)."),
    ],
)
def test_the_system_prompt_that_most_rows_have_is_recorded(
    write_rows: Write, tmp_path: Path, prompts: list[str | None], most: str
) -> None:
    rows = [
        {"instruction": f"say {number}", "output": "it is", **({"system": prompt} if prompt else {})}
        for number, prompt in enumerate(prompts)
    ]
    assert load(write_rows(rows), tmp_path, "data.validation_split=0").result.system_prompt == most


def test_the_system_prompt_of_the_config_is_that_of_the_rows_without_one(data_file: Path, tmp_path: Path) -> None:
    assert load(data_file, tmp_path, "format.system_prompt=Be brief.").result.system_prompt == "Be brief."


def test_what_does_not_fit_is_counted(write_rows: Write, tmp_path: Path) -> None:
    rows = [{"instruction": "say", "output": "it " * length} for length in (1, 2, 3, 30)]
    data = load(write_rows(rows), tmp_path, "trainer.max_seq_length=10", "data.validation_split=0")
    assert (data.result.train_rows, data.result.overflow_rows, data.result.overflow_supervised_tokens) == (3, 1, 31)
    assert data.result.lengths.lost_supervised_tokens == 31 + 2 - 10
    cut = load(
        write_rows(rows), tmp_path, "trainer.max_seq_length=10", "data.validation_split=0", "data.overflow=truncate"
    )
    assert [len(row.input_ids) for row in cut.train] == [4, 5, 6, 10]
    assert cut.result.overflow_supervised_tokens == 31 + 2 - 10


def test_files_of_their_own_hold_out_rows_and_give_prompts(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    held_out, prompts = write_rows(rows[:3]), write_rows(rows[:5])
    words = [f"data.validation_path={held_out}", f"data.prompts_path={prompts}"]
    data = load(write_rows(rows), tmp_path, *words)
    assert (data.result.train_rows, data.result.validation_rows, data.result.prompts) == (20, 3, 5)
    assert [prompt.reference for prompt in data.prompts] == [row["output"] for row in rows[:5]]


def test_prompts_of_a_sorted_file_are_asked_from_all_over_it(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    """A file that is sorted by label and one that is sorted by topic, each three to one."""
    labels = ["yes"] * 60 + ["no"] * 20
    for references in (labels, [f"{label} {number}" for number, label in enumerate(labels)]):
        asked = [{"instruction": f"say {number}", "output": text} for number, text in enumerate(references)]
        words = [f"data.prompts_path={write_rows(asked)}", "data.max_rows=4"]
        first, again, other = (
            [prompt.reference or "" for prompt in load(write_rows(rows), tmp_path, *words, f"data.seed={seed}").prompts]
            for seed in (1, 1, 2)
        )
        assert sorted(first) == sorted(references)
        assert all(14 <= sum(text.startswith("yes") for text in order[:20]) <= 16 for order in (first, other))
        assert first == again
        assert (first != other) or references is labels


def test_without_prompts_of_their_own_validation_rows_are_asked_from_all_over(
    write_rows: Write, tmp_path: Path
) -> None:
    rows = [{"instruction": f"say {number}", "output": f"it is {number}"} for number in range(100)]
    file = write_rows(rows)
    words = ["data.max_rows=4", f"data.validation_path={file}"]
    data = load(file, tmp_path, *words)
    asked, choosing = (
        [int(prompt.messages[0].content.split()[1]) for prompt in prompts] for prompts in (data.prompts, data.selection)
    )
    # One half judges, the other chooses.
    assert sorted([*asked, *choosing]) == list(range(100))
    assert len(asked) == len(choosing) == len(data.validation) == data.result.validation_rows == 50
    assert data.result.judged_apart
    assert all(any(start <= number < start + 25 for number in asked[:8]) for start in range(0, 100, 25))
    assert data.for_selection().prompts is data.selection
    again, other = (load(file, tmp_path, *words, f"data.seed={seed}").prompts for seed in (42, 43))
    assert [int(prompt.messages[0].content.split()[1]) for prompt in again] == asked
    assert again[0] != other[0]


def test_rows_that_belong_together_stay_on_one_side(write_rows: Write, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"say {number}", "output": f"it is {number}", "customer": f"customer {number % 10}"}
        for number in range(100)
    ]
    file = write_rows(rows)
    data = load(file, tmp_path, "format.cluster=customer", "data.validation_split=0.5")
    sides = [
        {int(asked.messages[0].content.split()[1]) % 10 for asked in part} for part in (data.prompts, data.selection)
    ]
    trained = set(range(10)) - sides[0] - sides[1]
    assert len(data.train) == 50
    assert len(trained) == 5  # none of the ten customers is on two sides
    assert not sides[0] & sides[1]
    assert {prompt.cluster for prompt in data.prompts} == {f"customer {number}" for number in sides[0]}
    assert len(set(data.clusters)) == len(sides[1])
    with pytest.raises(FrameworkError, match=r"^format\.cluster=custom is in no row: .* 'customer'"):
        load(file, tmp_path, "format.cluster=custom")


def test_prompts_that_an_evaluator_brings_along_are_compared_with_the_training_rows(
    write_rows: Write, tmp_path: Path
) -> None:
    rows = [
        {"instruction": f"Name the capital of country {number}", "output": f"city {number}"} for number in range(60)
    ]
    own = tmp_path / "my.txt"
    asked = [f"NAME the capital of country {number} !" for number in range(10)]
    own.write_text("\n".join([*asked, "Who wrote Hamlet?"]), encoding="utf-8")
    words = ["evaluator=[prompts]", f"evaluator.prompts.file={own}", "data.validation_split=0.8"]
    data = load(write_rows(rows), tmp_path, *words)
    (leak,) = [each for each in data.result.findings if each.name == "leaked"]
    trained = {int(row.where.rpartition(":")[2]) for row in data.train}
    assert leak.where == [f"my.txt:{line}" for line in range(1, 11) if line in trained]
    (few,) = [each for each in data.result.findings if each.name == "few_prompts"]
    assert few.rows == 11
    # None of the held-out rows is asked by the verdict, so all of them choose.
    assert data.result.judged_apart
    assert len(data.selection) == len(data.validation) == 48


def test_a_few_held_out_rows_choose_and_judge(data_file: Path, tmp_path: Path) -> None:
    data = load(data_file, tmp_path)
    assert not data.result.judged_apart
    assert [prompt.where for prompt in data.prompts] == [prompt.where for prompt in data.selection]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (
            30,
            "30 prompts are asked before and after: with so few, only a difference of about 34 points or more is "
            "likely to be noticed",
        ),
        (
            4,
            "4 prompts are asked before and after: with so few, the verdict can be 'cannot tell' even if all of them "
            "improve",
        ),
        (60, ""),
    ],
)
def test_too_few_prompts_are_warned_of_before_the_training(
    write_rows: Write, tmp_path: Path, count: int, text: str
) -> None:
    rows = [{"instruction": f"say {number}", "output": f"it is {number}"} for number in range(count)]
    file = write_rows(rows)
    words = [f"data.prompts_path={file}", "data.max_rows=4"]
    found = [each for each in load(file, tmp_path, *words).result.findings if each.name == "few_prompts"]
    assert [each.text[: len(text)] for each in found] == ([text] if text else [])
    for stages, warned in (("data", bool(text)), ("data,train", False)):  # a training alone compares nothing
        part = load(file, tmp_path, *words, f"stages=[{stages}]")
        assert bool([each for each in part.result.findings if each.name == "few_prompts"]) is warned


def test_references_that_an_answer_cannot_reach_are_warned_of_before_the_training(
    write_rows: Write, tmp_path: Path
) -> None:
    file = write_rows([{"instruction": f"say {number}", "output": "it is " + "so " * number} for number in range(1, 7)])
    words = [f"data.prompts_path={file}", "evaluator=[prompts]"]
    found = load(file, tmp_path, *words, "evaluator.prompts.max_new_tokens=6").result.findings
    (cut,) = [each for each in found if each.name == "cut_references"]
    assert cut.text.startswith("2 of 6 references are longer than evaluator.prompts.max_new_tokens=6, up to 8 tokens: ")
    assert cut.advice.startswith("set evaluator.prompts.max_new_tokens=9, ")
    enough = load(file, tmp_path, *words, "evaluator.prompts.max_new_tokens=8").result.findings
    assert [each.name for each in enough if each.name == "cut_references"] == []


def test_prompts_with_an_empty_answer_are_a_finding_and_have_no_reference(data_file: Path, tmp_path: Path) -> None:
    call = {"function": {"name": "add", "arguments": {"number": 1}}}
    answers: list[dict[str, Any]] = [{"content": "1"}, {"content": "I add.", "tool_calls": [call]}, {"content": " "}]
    rows = [
        {"messages": [{"role": "user", "content": f"say {number}"}, {"role": "assistant", **answer}]}
        for number, answer in enumerate(answers)
    ]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = load(data_file, tmp_path, f"data.prompts_path={asked}")
    called = ToolCall("add", {"number": 1})
    assert [prompt.reference for prompt in data.prompts] == ["1", f"I add.\n{call_text([called])}", None]
    assert with_reference(data.prompts[1], 0).messages[-1] == Message("assistant", "I add.", (called,))
    (empty,) = [each for each in data.result.findings if each.name == "empty_references"]
    assert empty.text.startswith("1 of 3 prompts has an empty answer in the data: ")
    assert empty.examples == [data.prompts[2].where]


def test_the_format_of_the_run_goes_with_the_data(data_file: Path, tmp_path: Path) -> None:
    form = load(data_file, tmp_path, "format=alpaca", "format.system_prompt=Hello").format
    assert form is not None
    assert (form.component.name, form.config.system_prompt) == ("alpaca", "Hello")


@pytest.mark.parametrize("sweep", ["", "rates"])
def test_the_data_of_a_trial_say_so(sweep: str, data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path)
    assert load_data(dataclasses.replace(plan, sweep=sweep), testing.EchoModel(plan)).trial is (sweep != "")


def test_data_without_rows_is_refused(write_rows: Write, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"^data\.path=.*rows\.jsonl has no rows: give data that has some$"):
        load(write_rows([]), tmp_path)
    blank = tmp_path / "blank.jsonl"
    blank.write_text("\n\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"^data\.path=.*blank\.jsonl has no rows: give data that has some$"):
        load(blank, tmp_path)


def test_data_of_which_every_row_is_bad_say_so(write_rows: Write, tmp_path: Path) -> None:
    file = write_rows([{"question": "?"}] * 3)
    with pytest.raises(FrameworkError, match=r"has no rows: all 3 are bad, the first is rows\.jsonl:1: "):
        load(file, tmp_path, "data.on_bad_row=skip")


def test_bad_rows_end_the_run_or_are_skipped_and_counted(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    file = write_rows([*rows[:5], {"question": "?"}, *rows[5:], {"instruction": "no answer"}])
    with pytest.raises(FrameworkError, match=r"(?s)^rows\.jsonl:6: .*\nrows\.jsonl:22: "):
        load(file, tmp_path)
    data = load(file, tmp_path, "data.on_bad_row=skip")
    assert data.result.bad_rows == 2
    assert [text.partition(": ")[0] for text in data.result.bad_examples] == ["rows.jsonl:6", "rows.jsonl:22"]
    assert data.result.train_rows + data.result.validation_rows == 20


def test_bad_rows_of_all_files_are_reported_together(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    bad = write_rows([{"question": "?"}])
    words = [f"data.validation_path={bad}", f"data.prompts_path={bad}"]
    with pytest.raises(FrameworkError) as caught:
        load(write_rows([*rows, {"question": "?"}]), tmp_path, *words)
    places = str(caught.value).partition(": no format fits")[0].split(", ")
    assert [place.rpartition("/")[2] for place in places] == ["rows.jsonl:21", "rows.jsonl:1", "rows.jsonl:1"]


def test_the_first_rows_alone_are_read(data_file: Path, tmp_path: Path) -> None:
    data = load(data_file, tmp_path, "data.max_rows=6", "data.validation_split=0")
    assert [row.where for row in data.train] == [f"rows.jsonl:{number}" for number in range(1, 7)]


def test_a_near_duplicate_of_a_training_prompt_is_never_validated_on(write_rows: Write, tmp_path: Path) -> None:
    subjects = ["the tallest mountain", "a very old bridge", "two green parrots", "an open window", "my lost umbrella"]
    rows = [
        {
            "instruction": f"{how} me in a few plain words something of interest about {what} number {number}",
            "output": "x",
        }
        for number, what in enumerate(subjects * 8)
        for how in ("Tell", "Please tell")
    ]
    for seed in range(2):
        data = load(write_rows(rows), tmp_path, f"data.seed={seed}", "data.validation_split=0.2")
        number = {row.where: int(row.where.partition(":")[2]) for part in (data.train, data.validation) for row in part}
        trained = {(number[row.where] - 1) // 2 for row in data.train}
        held_out = {(number[row.where] - 1) // 2 for row in data.validation}
        assert held_out
        assert not trained & held_out


class Unproven(testing.EchoModel):
    """Cannot prove rows with an odd number; of every fourth nothing is left to learn, of the others one token."""

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        rows = []
        for row in super().encode(examples):
            number = int(row.where.partition(":")[2])
            labels = [-100] * len(row.labels)
            labels[-1] = -100 if number % 4 == 1 else row.labels[-1]
            rows.append(TokenRow(row.input_ids, labels, row.where, "the template loses a turn" if number % 2 else ""))
        return rows


def test_a_proof_that_fails_ends_the_run_before_it_starts(data_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError) as caught:
        load(data_file, tmp_path, model=Unproven)
    first, last = str(caught.value).splitlines()
    assert first == "rows.jsonl:1: the template loses a turn (the same in 10 rows)"
    usable = "To train on the valid part of such rows, set data.proof=warn"
    assert last == f"the loss mask of 10 of 20 rows is not proven. {usable}"


def test_the_problem_of_most_rows_is_shown_first(data_file: Path, tmp_path: Path) -> None:
    class Odd(Unproven):
        def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
            made = super().encode(examples)
            return [dataclasses.replace(row, problem="odd") if row.where.endswith(":1") else row for row in made]

    words = ("data.proof=warn", "data.validation_split=0")
    problems = load(data_file, tmp_path, *words, model=Odd).result.proof.problems
    assert [(each.problem, each.rows) for each in problems] == [("the template loses a turn", 9), ("odd", 1)]


def test_the_answer_of_a_prompt_is_a_reference_and_need_not_be_proven(
    write_rows: Write, rows: Rows, tmp_path: Path
) -> None:
    class References(testing.EchoModel):
        def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
            made = super().encode(examples)
            bad = "not as it would be generated"
            return [dataclasses.replace(row, problem=bad if row.where.startswith("prompts") else "") for row in made]

    prompts = write_rows(rows[:3])
    prompts = prompts.rename(prompts.with_name("prompts.jsonl"))
    result = load(write_rows(rows), tmp_path, f"data.prompts_path={prompts}", model=References).result
    assert (result.prompts, result.proof.rows, result.proof.failed, result.proof.problems) == (3, 20, 0, [])


def test_with_a_warning_what_is_left_of_unproven_rows_is_trained_on(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.data.reader.BATCH_ROWS", 3)  # their texts come in several parts
    data = load(data_file, tmp_path, "data.proof=warn", "data.validation_split=0", model=Unproven)
    assert data.result.train_rows == 15
    assert data.result.proof.failed == 10
    (problem,) = data.result.proof.problems
    assert (problem.problem, problem.rows) == ("the template loses a turn", 10)
    assert problem.examples == [f"rows.jsonl:{number}" for number in range(1, 20, 2)]
    assert all(row.supervised for row in data.train)


def test_the_view_shows_the_first_rows_piece_by_piece(data_file: Path, tmp_path: Path) -> None:
    data = load(data_file, tmp_path, "data.validation_split=0")
    assert [row.where for row in data.result.view] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    assert [(piece.text, piece.learned) for piece in data.result.view[0].pieces] == [
        ("say 0 <stop>", False),
        ("it is 0 <stop>", True),
    ]


def test_the_view_hides_what_looks_like_a_secret(write_rows: Write, tmp_path: Path) -> None:
    key = "sk-" + "a1B2" * 10
    rows = [{"instruction": f"My key is {key} number {number}", "output": "Thanks"} for number in range(3)]
    shown = load(write_rows(rows), tmp_path, "data.validation_split=0").result.view
    texts = [piece.text for row in shown for piece in row.pieces]
    assert any("My key is (hidden)" in text for text in texts)
    assert not any(key in text for text in texts)


def test_the_view_shows_the_first_row_of_each_source_that_is_mixed_in(write_rows: Write, tmp_path: Path) -> None:
    own = [{"instruction": f"say {number}", "output": f"it is {number}"} for number in range(5)]
    more = [{"prompt": f"ask {number}", "completion": f"tell {number}"} for number in range(5)]
    mixed = f"data.mix=[{{path:{write_rows(more)},count:2}},{{path:{write_rows(more)},count:1}}]"
    shown = load(write_rows(own), tmp_path, "data.validation_split=0", mixed).result.view
    assert len(shown) == 5
    assert [row.pieces[0].text.split()[0] for row in shown] == ["say", "say", "say", "ask", "ask"]


def test_rows_that_all_ask_the_same_are_not_held_out_and_that_is_said(write_rows: Write, tmp_path: Path) -> None:
    rows = [{"instruction": "Tell me a joke", "output": f"joke {number}"} for number in range(12)]
    result = load(write_rows(rows), tmp_path, "audit=[]").result
    assert result.validation_rows == 0
    (finding,) = result.findings
    assert (finding.name, finding.rows) == ("nothing_held_out", 12)
    assert "No row of 12 is held out: they all ask nearly the same" in finding.text


@pytest.mark.parametrize("overflow", ["drop", "fail"])
def test_validation_rows_that_are_too_long_are_reported_as_such(
    write_rows: Write, rows: Rows, tmp_path: Path, overflow: str
) -> None:
    long = [{"instruction": "say", "output": "it " * 50}]
    words = [f"data.validation_path={write_rows(long)}", "trainer.max_seq_length=20", f"data.overflow={overflow}"]
    with pytest.raises(FrameworkError, match="validation rows"):
        load(write_rows(rows), tmp_path, *words)
    words[0] = f"data.validation_path={write_rows([*long, *rows[:2]])}"
    if overflow == "drop":
        result = load(write_rows(rows), tmp_path, *words).result
        assert (result.validation_rows, result.overflow_validation_rows, result.overflow_rows) == (2, 1, 0)


def test_a_row_that_is_too_long_is_not_held_out(write_rows: Write, tmp_path: Path) -> None:
    same = [{"instruction": "say", "output": "it"}] * 12
    data = load(
        write_rows([*same, {"instruction": "tell", "output": "it " * 50}]), tmp_path, "trainer.max_seq_length=20"
    )
    assert (data.result.train_rows, data.result.validation_rows, data.result.overflow_rows) == (12, 0, 1)
    assert "nothing_held_out" in {finding.name for finding in data.result.findings}


def test_plain_text_is_learned_whole_and_asks_nothing(write_rows: Write, tmp_path: Path) -> None:
    file = write_rows([{"text": f"Some words about number {number}"} for number in range(12)])
    data = load(file, tmp_path, "objective=train_loss")
    assert all(row.supervised == len(row.input_ids) for row in data.train)
    assert len(data.prompts) == data.result.prompts == 0


@dataclass
class FindsConfig(AuditConfig):
    """Reports the findings that the test sets."""


class Finds:
    def __init__(self, config: FindsConfig) -> None:
        self.config = config

    def audit(self, data: AuditData) -> Iterable[Finding]:
        yield Finding("quiet", Severity.note, 1, "One row is so.", "Nothing to do.", [])
        examples = data.examples([3, 1])
        yield Finding("loud", Severity.serious, 2, "Two rows are so.", "Look at them.", examples)


def test_findings_come_the_worst_first_with_rows_by_name(data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path)
    choice = Selection(Component("finds", FindsConfig, f"{__name__}:Finds"), FindsConfig())
    plan = dataclasses.replace(plan, audit={"finds": choice})
    found = load_data(plan, testing.EchoModel(plan)).result.findings
    assert [finding.name for finding in found] == ["loud", "few_prompts", "quiet"]
    assert found[0].examples == ["rows.jsonl:4: say 3 → it is 3", "rows.jsonl:2: say 1 → it is 1"]


def test_an_audit_is_given_the_parts_after_the_split(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    from framework.api.audit import RowPart
    from framework.data import audit, reader, stage

    plan = testing.plan(
        ["data=local_file", f"data.path={write_rows(rows)}", f"data.prompts_path={write_rows(rows[:2])}"],
        run_dir=tmp_path,
    )
    store, _ = reader.Reader(plan, testing.EchoModel(plan)).store()
    seen = StoredRows(
        plan,
        store,
        stage.split_parts(store, plan.data.config.validation_split, plan.training.max_seq_length, 42),
    )
    assert len(seen) == 22
    assert [(seen.part == part).sum() for part in (RowPart.train, RowPart.validation, RowPart.prompts)] == [18, 2, 2]
    batches = list(seen.batches())
    assert batches[0].question[:2] == ["say 0", "say 1"]
    assert batches[0].answer[:2] == ["it is 0", "it is 1"]
    groups = audit.groups(store, "near_duplicates")
    assert groups[20] == groups[0] == 0  # the prompts repeat the first rows
    assert (audit.groups(store, "near_duplicates") == groups).all()


def test_uncached_rows_are_gone_with_the_data(data_file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import gc
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    data = load(data_file, tmp_path / "run")
    assert list((tmp_path / "tmp").iterdir())
    del data
    gc.collect()
    assert not list((tmp_path / "tmp").iterdir())


class CountsEpochs(Finds):
    """Reports a setting of the training."""

    def audit(self, data: AuditData) -> Iterable[Finding]:
        text = f"{data.plan.training.num_train_epochs:g} epochs of {data.plan.batch} rows a step"
        yield Finding("epochs", Severity.note, 1, text, "", [])


class Shared(testing.EchoModel):
    """An echo model whose rows are kept; it does not know their words the next time."""

    encoding = "echo"

    def decode(self, ids: Sequence[int]) -> str:
        return f"{len(ids)} words"


def test_points_of_a_sweep_share_rows_and_are_audited_each_by_its_own_settings(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEWORK_CACHE", str(tmp_path / "cache"))
    found: list[Data] = []
    current().shared.open()
    try:
        for words in (["num_train_epochs=1"], ["num_train_epochs=30"], ["gradient_accumulation_steps=8"]):
            given = [f"trainer.{word}" for word in words]
            plan = testing.plan(["data=local_file", f"data.path={data_file}", *given], run_dir=tmp_path)
            choice = Selection(Component("counts", FindsConfig, f"{__name__}:CountsEpochs"), FindsConfig())
            plan = dataclasses.replace(plan, audit={"counts": choice})
            found.append(load_data(plan, Shared(plan)))
    finally:
        current().shared.close()
    assert found[0].train is found[1].train is found[2].train
    told = [finding.text for data in found for finding in data.result.findings]
    assert [text for text in told if "a step" in text] == [
        "1 epochs of 8 rows a step", "30 epochs of 8 rows a step", "3 epochs of 16 rows a step",
    ]  # fmt: skip


def test_fields_that_nothing_reads_are_counted_once_with_their_rows(write_rows: Write, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": f"say {number}", "output": "it", "input": "", "lang": "en", "label": True, "customer": "ann"}
        for number in range(6)
    ]
    rows[2]["score"] = 0
    rows[3] |= {"lang": None, "note": "x", "system": "Be brief."}
    data = load(write_rows(rows), tmp_path, "format.cluster=customer", "data.validation_split=0")
    assert data.result.unread_fields == {"lang": 5, "score": 1, "note": 1}
    fact = next(fact for fact in facts_of(data.result) if fact.name == "not read")
    assert (fact.text, fact.more) == ("lang in 5 rows; score, note in 1 row", ())
    assert load(write_rows([{"instruction": "say", "output": "it"}]), tmp_path).result.unread_fields == {}


def test_fields_of_turns_that_nothing_reads_are_counted_too(write_rows: Write, tmp_path: Path) -> None:
    asked, answered = {"role": "user", "content": "say", "name": "Ann"}, {"role": "assistant", "content": "it"}
    rows: list[dict[str, Any]] = [
        {"messages": [asked, {**answered, "weight": 1, "train_detail": "x", "refusal": None}]},
        {"messages": json.dumps([asked, answered | {"loss": True}]), "meta": [{"a": 1}]},
        {"turns": [{"from": "human", "value": "say", "markdown": "say"}, {"from": "gpt", "value": "it"}]},
        {"instruction": "say", "output": "it"},
    ]
    data = load(write_rows(rows), tmp_path, "data.validation_split=0")
    assert data.result.unread_fields == {
        "turn field name": 2, "turn field train_detail": 1, "meta": 1, "turn field markdown": 1
    }  # fmt: skip


def test_rejected_answers_are_counted_as_left_out(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    pairs = [{"prompt": f"say {number}", "chosen": "it", "rejected": "no"} for number in range(4)]
    result = load(write_rows([*rows, *pairs]), tmp_path).result
    assert (result.rejected_answers, result.unread_fields) == (4, {})
    told = next(fact.text for fact in facts_of(result) if fact.name == "preference")
    assert told == "the rejected answers of 4 rows left out: method=sft learns the chosen ones, method=dpo both"


def test_what_a_source_says_of_its_rows_is_reported(data_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("train-0.jsonl", "test-0.jsonl"):
        (folder / name).write_bytes(data_file.read_bytes())
    result = load(folder, tmp_path / "run").result
    assert sum(result.formats.values()) == 20
    assert [
        note.startswith("test-0.jsonl belongs to another split and is not used: data") for note in result.notes
    ] == [True]
    assert next(fact for fact in facts_of(result) if fact.name == "files").amiss


def test_plain_text_is_not_counted_as_conversations_in_the_proof(write_rows: Write, rows: Rows, tmp_path: Path) -> None:
    texts = [{"text": f"The number {number} follows {number - 1}."} for number in range(5)]
    both = load(write_rows([*texts, *rows]), tmp_path, "data.validation_split=0").result
    assert (both.proof.rows, both.proof.plain, both.proof.turns) == (25, 5, 20)
    assert both.proof.lowest_share == both.proof.mean_share == pytest.approx(4 / 7, abs=1e-6)
    alone = load(write_rows(texts), tmp_path, "data.validation_split=0").result
    assert (alone.proof.rows, alone.proof.plain, alone.proof.turns, alone.proof.lowest_share) == (5, 5, 0, 1.0)


class BeginsTexts(testing.EchoModel):
    """Begins a text with a token that is not learned, and knows a stop token by a word."""

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        rows = super().encode(examples)
        begin, stop = self._ids("<begin>")[0], self._ids("<end>")[0]
        for row in rows:
            row.input_ids[:] = [0 if token == stop else token for token in (begin, *row.input_ids)]
            row.labels[:] = [-100, *(0 if token == stop else token for token in row.labels)]
        return rows


def test_texts_with_a_stop_token_before_their_end_are_reported(write_rows: Write, tmp_path: Path) -> None:
    file = write_rows([{"text": "one two"}, {"text": "what is it <end> it is <end>"}, {"text": "three"}])
    result = load(file, tmp_path, "data.validation_split=0", "audit=[]", model=BeginsTexts).result
    (found,) = (finding for finding in result.findings if finding.name == "stop_in_text")
    assert (found.rows, found.examples) == (1, ["rows.jsonl:2"])
    assert found.text.startswith("1 plain text contains a token that stops generation before the end")


@pytest.mark.parametrize("model", [testing.EchoModel, BeginsTexts])
@pytest.mark.parametrize("length", [7, 8, 101])
def test_a_long_text_is_cut_into_rows_that_together_are_the_text(
    write_rows: Write, tmp_path: Path, model: type[testing.EchoModel], length: int
) -> None:
    words = [f"w{number}" for number in range(length)]
    file = write_rows([{"text": " ".join(words)}, {"instruction": "say " * 40, "output": "it"}])
    data = load(file, tmp_path, "data.cut=8", "data.validation_split=0", "audit=[]", model=model)
    result, begin = data.result, 1 if model is BeginsTexts else 0
    pieces = [row for row in data.train if row.where.startswith("rows.jsonl:1")]
    whole = length + 1 + begin  # the stop token, and what begins every row
    assert all(len(row.input_ids) <= 8 for row in pieces)
    assert [label for row in pieces for label in row.labels if label != -100][-1] == 0  # the stop token ends the text
    assert sum(0 in row.labels for row in pieces) == 1
    learned = [label for row in pieces for label in row.labels if label != -100]
    assert learned == [row_id for row in pieces for row_id in row.input_ids[begin:]]
    assert len(learned) == length + 1 == len(set(learned))  # all words once, in their order
    assert max(len(row.input_ids) for row in pieces) - min(len(row.input_ids) for row in pieces) <= 1
    assert (result.cut_texts, result.cut_rows) == ((1, len(pieces)) if whole > 8 else (0, 0))
    assert [row.where for row in pieces] == (
        [f"rows.jsonl:1, part {number}" for number in range(1, len(pieces) + 1)] if whole > 8 else ["rows.jsonl:1"]
    )
    (talk,) = (row for row in data.train if row.where == "rows.jsonl:2")
    assert len(talk.input_ids) > 8  # a conversation stays whole


def test_a_cut_above_the_longest_row_is_refused(data_file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FrameworkError, match=r"^data\.cut=64 is more than trainer\.max_seq_length=32: set data\.cut=32 or"
    ):
        load(data_file, tmp_path, "data.cut=64", "trainer.max_seq_length=32")


@pytest.mark.parametrize(("suffix", "kept"), [(".jsonl", [1, 3]), (".csv", [2, 4])])
def test_answers_that_were_not_wanted_are_refused_or_skipped_with_a_count(
    write_rows: Write, tmp_path: Path, suffix: str, kept: list[int]
) -> None:
    rows: list[dict[str, Any]] = [{"question": "say", "answer": "it", "label": int(number != 1)} for number in range(3)]
    file = write_rows(rows)
    if suffix == ".csv":
        file = file.with_suffix(suffix)
        file.write_text("question,answer,label\nsay,it,1\nsay,no,0\nsay,it,1.0\n", encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"^rows\.\w+:[23]: has an answer that its label calls unwanted, and"):
        load(file, tmp_path)
    data = load(file, tmp_path, "data.on_bad_row=skip", "data.validation_split=0")
    assert ([row.where for row in data.train], data.result.bad_rows) == ([f"{file.name}:{line}" for line in kept], 1)
    every = load(file, tmp_path, "format.columns={label: null}", "data.validation_split=0")
    assert (len(every.train), every.result.unread_fields) == (3, {})


def talk(number: int, answers: int = 3) -> dict[str, Any]:
    turns = []
    for turn in range(answers):
        turns += [
            {"role": "user", "content": " ".join(f"w{number * 100 + turn * 10 + word}" for word in range(10))},
            {"role": "assistant", "content": f"it is {number} and {turn}"},
        ]
    return {"messages": turns}


def test_each_answer_becomes_a_row_and_those_of_a_conversation_stay_together(write_rows: Write, tmp_path: Path) -> None:
    file = write_rows([talk(number) for number in range(40)])
    data = load(file, tmp_path, "data.learn=each", "data.validation_split=0.25")
    result = data.result
    assert (result.conversations, result.conversation_rows, result.proof.rows) == (40, 120, 120)
    assert all(row.supervised == 6 for row in data.train)  # the last answer and its stop token
    trained, asked = ({row.where.partition(",")[0] for row in part} for part in (data.train, data.prompts))
    assert not trained & asked
    assert {prompt.cluster for prompt in data.prompts} == asked
    assert not [found for found in result.findings if found.name in ("near_duplicates", "leaked", "unshuffled")]
    facts = {fact.name: fact.text for fact in facts_of(result)}
    assert facts["answers"] == "40 conversations into 120 rows, one for each answer (data.learn=each)"


def test_near_duplicates_of_another_conversation_are_found_answer_by_answer(write_rows: Write, tmp_path: Path) -> None:
    long = " ".join(f"word{number}" for number in range(60))
    first, second = talk(1), talk(1)
    first["messages"][0]["content"] = second["messages"][0]["content"] = long
    second["messages"][1]["content"] += " indeed"
    data = load(write_rows([first, second]), tmp_path, "data.learn=each", "data.validation_split=0")
    (found,) = [each for each in data.result.findings if each.name == "near_duplicates"]
    assert found.rows == 3
    assert all(f"is nearly rows.jsonl:1, answer {n}" in text for n, text in enumerate(found.examples, start=1))


def test_what_is_mixed_in_is_as_much_as_was_asked_for_in_rows(write_rows: Write, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps(talk(number)) + "\n" for number in range(50, 90)), encoding="utf-8")
    file = write_rows([talk(number) for number in range(10)])
    mix = f"data.mix=[{{path: {more}, count: 10}}]"
    result = load(file, tmp_path, mix, "data.learn=each", "data.validation_split=0").result
    assert [(part.requested, part.rows) for part in result.mixed] == [(10, 10)]
    assert result.train_rows == 40
    assert result.formats == {"chatml": 14}  # conversations: of the last one drawn two rows are left out


def test_the_proof_of_conversations_that_are_learned_whole_says_so(data_file: Path, tmp_path: Path) -> None:
    result = load(data_file, tmp_path, "data.learn=everything").result
    assert result.proof.whole
    (fact,) = [fact for fact in facts_of(result) if fact.name == "proof"]
    assert fact.text.endswith("all turns are learned, questions too (data.learn=everything)")


def test_thoughts_are_dropped_before_the_rows_are_encoded(write_rows: Write, tmp_path: Path) -> None:
    file = write_rows([{"instruction": "say", "output": "<think>\nwell\n</think>\n\nit"}])
    kept, dropped = (
        load(file, tmp_path, f"format.thoughts={where}", "data.validation_split=0").train[0]
        for where in ("keep", "drop")
    )
    assert (kept.supervised, dropped.supervised) == (5, 2)


GROUPS = st.lists(st.integers(0, 30), max_size=80).map(np.array)


@given(groups=GROUPS, share=st.floats(0, 0.99), seed=st.integers(0, 2**32))
def test_near_duplicates_never_stand_on_both_sides(groups: np.ndarray, share: float, seed: int) -> None:
    own = np.ones(len(groups), bool)
    chosen = held_out_rows(groups, own, share, seed)
    assert chosen.shape == groups.shape
    assert not set(groups[chosen]) & set(groups[~chosen])
    assert (chosen == held_out_rows(groups, own, share, seed)).all()


@given(groups=GROUPS, share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_something_is_held_out_and_something_is_left_wherever_there_are_two_groups(
    groups: np.ndarray, share: float, seed: int
) -> None:
    chosen = held_out_rows(groups, np.ones(len(groups), bool), share, seed)
    assert chosen.any() == (len(set(groups.tolist())) > 1)
    assert not len(groups) or not chosen.all()


@given(count=st.integers(2, 300), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_of_rows_that_are_all_different_exactly_the_share_is_held_out_rows(count: int, share: float, seed: int) -> None:
    chosen = held_out_rows(np.arange(count), np.ones(count, bool), share, seed)
    assert chosen.sum() == min(max(1, round(share * count)), count - 1)


@given(groups=GROUPS, seed=st.integers(0, 2**32))
def test_what_was_mixed_in_stays_in_training_with_all_that_resembles_it(groups: np.ndarray, seed: int) -> None:
    own = np.arange(len(groups)) % 3 > 0
    chosen = held_out_rows(groups, own, 0.5, seed)
    assert own[chosen].all()
    assert not set(groups[~own]) & set(groups[chosen])


def test_another_seed_gives_another_split() -> None:
    groups, own = np.arange(50), np.ones(50, bool)
    assert len({tuple(np.flatnonzero(held_out_rows(groups, own, 0.2, seed))) for seed in range(5)}) == 5


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_single_group_is_not_split(share: float) -> None:
    assert not held_out_rows(np.zeros(8, int), np.ones(8, bool), share, 1).any()


def test_every_row_is_held_out_as_often_as_the_others() -> None:
    drawn = [held_out_rows(np.arange(20), np.ones(20, bool), 0.25, seed) for seed in range(400)]
    times = np.sum(drawn, axis=0)
    assert 60 < times.min() <= times.max() < 145  # 100 expected, five standard deviations of 8.7


@given(count=st.integers(0, 400), seed=st.integers(0, 2**32 - 1))
def test_every_beginning_of_a_spread_order_lies_all_over(count: int, seed: int) -> None:
    order = spread_order(np.arange(count), seed)
    assert sorted(order.tolist()) == list(range(count))
    assert (order == spread_order(np.arange(count), seed)).all()
    for length in range(1, count + 1):
        chosen = np.sort(order[:length])
        gaps = np.diff(chosen, prepend=-1, append=count)
        assert gaps.max() <= 3 * count / length + 2


def test_the_seed_decides_where_a_spread_order_begins() -> None:
    assert len({int(spread_order(np.arange(1000), seed)[0]) for seed in range(20)}) > 10


def test_a_rating_that_differs_and_that_nothing_reads_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rated = [{"prompt": f"say {n}", "response": f"it {n}", "rating": 1 + n % 3, "stars": 5, "id": n} for n in range(9)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rated), encoding="utf-8")
    (found,) = (one for one in load(file, tmp_path / "run").result.findings if one.name == "unread_rating")
    assert found.text == "'rating' differs and is not read: 1 (3), 2 (3), 3 (3)"
    assert 'method=kto format=unpaired "format.columns={label: rating}"' in found.advice
