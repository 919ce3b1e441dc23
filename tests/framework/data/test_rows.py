"""framework/data/rows.py: renamed columns, system prompts, what a conversation must be, and the report on rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.protocols import Formatter
from framework.api.records import Example, FormatRun, Message, Row
from framework.api.schema import FormatConfig, OnBadRow
from framework.data.prompts import to_prompt
from framework.data.rows import KEPT_RUNS, ReadSummary, read, to_examples, with_system_prompt
from framework_plugins.formats.formats import Alpaca, Auto, ChatML

CONFIG = FormatConfig()


def test_white_space_around_the_turns_is_taken_off_where_that_is_wanted() -> None:
    row = Row(
        {"messages": [{"role": "user", "content": " say\n"}, {"role": "assistant", "content": "\n\nit  is "}]}, "a:1"
    )
    for strip, turns in ((False, (" say\n", "\n\nit  is ")), (True, ("say", "it  is"))):
        config = FormatConfig(strip=strip)
        (example,) = read([row], ChatML(config), config, OnBadRow.fail, ReadSummary())
        assert tuple(turn.content for turn in example.messages) == turns


ALPACA = {"instruction": "say", "output": "it"}
ASKED, ANSWERED = Message("user", "say"), Message("assistant", "it")
CHATML = {"messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": "it"}]}

Fields = dict[str, Any]


class Fixed(Formatter):
    """A format that makes the same conversation of every row."""

    def __init__(self, example: Example) -> None:
        self.made = example

    def matches(self, fields: Mapping[str, Any]) -> bool:
        return bool(fields)

    def example(self, _fields: Mapping[str, Any]) -> Example:
        return self.made


def placed(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [Row(fields, f"rows.jsonl:{number}") for number, fields in enumerate(rows, start=1)]


def told_of(
    rows: Sequence[Mapping[str, Any]], formatter: Formatter | None = None, config: FormatConfig = CONFIG
) -> tuple[list[Example], ReadSummary]:
    """Read rows, leave out bad ones, and return the messages too."""
    summary = ReadSummary()
    examples = list(read(placed(rows), formatter or Auto(CONFIG), config, OnBadRow.skip, summary))
    return examples, summary


PROBLEM = "format alpaca needs the field 'instruction'; the row has question"


@pytest.mark.parametrize(
    ("bad", "lines"),
    [
        (1, [f"rows.jsonl:1: {PROBLEM}"]),
        (2, [f"rows.jsonl:1, rows.jsonl:2: {PROBLEM}"]),
        (3, [f"rows.jsonl:1, rows.jsonl:2, rows.jsonl:3: {PROBLEM}"]),
        (4, [f"rows.jsonl:1, rows.jsonl:2 … rows.jsonl:4 (4 rows): {PROBLEM}"]),
        (
            13,
            [
                f"rows.jsonl:1, rows.jsonl:2 … rows.jsonl:10 (10 rows): {PROBLEM}",
                "and 3 more rows; data.on_bad_row=skip leaves bad rows out",
            ],
        ),
    ],
)
def test_the_first_ten_wrong_rows_are_named_and_what_they_share_is_said_once(bad: int, lines: list[str]) -> None:
    with pytest.raises(FrameworkError) as caught:
        to_examples([Row(ALPACA, "rows.jsonl:99"), *placed([{"question": "?"}] * bad)], Alpaca(CONFIG))
    assert str(caught.value).splitlines() == lines


def test_rows_with_other_problems_in_between_keep_their_order() -> None:
    rows = placed([{"question": "?"}, ALPACA, {"question": "?"}, {"instruction": "say"}, {"question": "?"}])
    summary = ReadSummary()
    with pytest.raises(FrameworkError) as caught:
        list(read(rows, Alpaca(CONFIG), CONFIG, OnBadRow.fail, summary))
    assert str(caught.value).splitlines() == [
        f"rows.jsonl:1, rows.jsonl:3: {PROBLEM}",
        "rows.jsonl:4: format alpaca needs the field 'output'; the row has instruction",
        f"rows.jsonl:5: {PROBLEM}",
    ]
    assert summary.counts.bad_examples[:2] == [f"rows.jsonl:1: {PROBLEM}", f"rows.jsonl:3: {PROBLEM}"]


def test_bad_rows_are_left_out_and_counted_where_that_is_asked_for() -> None:
    rows = [*placed([ALPACA, {"instruction": "say"}, ALPACA]), Row({}, "rows.jsonl:4", "no JSON: at column 1")]
    summary = ReadSummary()
    examples = list(read(rows, Alpaca(CONFIG), CONFIG, OnBadRow.skip, summary))
    assert [example.where for example in examples] == ["rows.jsonl:1", "rows.jsonl:3"]
    assert (summary.counts.bad_rows, summary.counts.formats) == (2, {"alpaca": 2})
    assert summary.counts.bad_examples == [
        "rows.jsonl:2: format alpaca needs the field 'output'; the row has instruction",
        "rows.jsonl:4: no JSON: at column 1",
    ]


def test_all_bad_rows_are_counted_and_ten_are_kept() -> None:
    _, summary = told_of([{"instruction": "say"}] * 25, Alpaca(CONFIG))
    assert (summary.counts.bad_rows, len(summary.counts.bad_examples)) == (25, 10)


def test_an_example_remembers_where_its_row_stands_and_all_that_the_format_found() -> None:
    made = Example(
        (ASKED, ANSWERED), "fixed", tools=({"function": {"name": "f"}},), rejected=(Message("assistant", "no"),),
        options=("it", "that"),
    )  # fmt: skip
    (example,) = to_examples([Row({"a": 1}, "a.jsonl:7")], Fixed(made))
    assert example.where == "a.jsonl:7"
    assert (example.messages, example.tools, example.rejected) == (made.messages, made.tools, made.rejected)
    assert to_prompt(example).options == example.options == made.options
    for options in (("it", 1), ("it", "so \ud83d"), None):
        with pytest.raises(FrameworkError, match="option"):
            to_examples([Row({"a": 1}, "a.jsonl:7")], Fixed(replace(made, options=options)))  # type: ignore[arg-type]
    (plain,) = to_examples([Row({"a": 1}, "a.jsonl:8")], Fixed(Example((), "fixed", text="plain")))
    assert (plain.text, plain.where) == ("plain", "a.jsonl:8")


def test_a_format_that_stumbles_over_a_row_is_reported_with_the_row_and_the_line_of_its_code() -> None:
    class Careless(Formatter):
        def matches(self, fields: Mapping[str, Any]) -> bool:
            return "thread" in fields

        def example(self, fields: Mapping[str, Any]) -> Example:
            return Example((Message("user", fields["thread"][0]["text"]), Message("assistant", "x")), "careless")

    rows = [Row({"thread": [{"text": "a"}]}, "rows.jsonl:1"), Row({"thread": "a text"}, "rows.jsonl:2")]
    with pytest.raises(FrameworkError) as caught:
        to_examples(rows, Careless())
    (line,) = str(caught.value).splitlines()
    assert line.startswith("rows.jsonl:2: the format cannot read the row: TypeError: string indices must be integers")
    assert "test_rows.py:" in line


# `format.system_prompt` and `format.columns`.


def test_a_system_prompt_is_put_before_a_conversation_that_has_none() -> None:
    prompt = Message("system", "Be brief")
    assert with_system_prompt(Example((ASKED, ANSWERED), "f"), "Be brief").messages == (prompt, ASKED, ANSWERED)
    own = Example((Message("system", "Be long"), ASKED, ANSWERED), "f")
    plain = Example((), "text", text="hi")
    assert with_system_prompt(own, "Be brief") is own
    assert with_system_prompt(plain, "Be brief") is plain
    config = FormatConfig(system_prompt="Be brief")
    for fields, formatter in ((ALPACA, Alpaca(config)), (CHATML, ChatML(config))):
        ((example,), _) = told_of([fields], formatter, config)
        assert example.messages == (prompt, ASKED, ANSWERED)


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        ({"instruction": "question", "output": "answer"}, {"question": "say", "answer": "it"}),
        ({"instruction": "output", "output": "instruction"}, {"output": "say", "instruction": "it"}),
        ({"output": "answer"}, {"instruction": "say", "output": "not this", "answer": "it"}),
        ({"messages": "dialogue"}, {"dialogue": CHATML["messages"]}),
        ({"prompt": "q", "completion": "a"}, {"q": "say", "a": "it"}),
        ({"conversations": "talk"}, {"talk": [{"from": "human", "value": "say"}, {"from": "gpt", "value": "it"}]}),
    ],
    ids=["both", "swapped", "over another", "messages", "prompt and completion", "talk"],
)
def test_columns_are_renamed_before_the_format_is_recognised(columns: dict[str, str | None], fields: Fields) -> None:
    given = dict(fields)
    ((example,), summary) = told_of([given], config=FormatConfig(columns=columns))
    assert example.messages == (ASKED, ANSWERED)
    assert summary.counts.bad_rows == 0
    assert given == fields


def test_a_row_that_lacks_a_column_keeps_its_own_field_of_that_name() -> None:
    config = FormatConfig(columns={"instruction": "question", "input": "context"})
    rows = [{"question": "say", "output": "it"}, ALPACA, {"question": "say", "context": "this", "output": "it"}]
    examples, summary = told_of(rows, config=config)
    assert [example.messages[0].content for example in examples] == ["say", "say", "say\n\nthis"]
    assert summary.counts.bad_rows == 0


@pytest.mark.parametrize("on_bad_row", list(OnBadRow))
def test_a_column_that_no_row_has_is_reported_with_the_nearest_that_it_has(on_bad_row: OnBadRow) -> None:
    rows = placed([{"question": "say", "answer": "it"}] * 3)
    config = FormatConfig(columns={"instruction": "question", "output": "anser"})
    with pytest.raises(FrameworkError) as caught:
        list(read(rows, Alpaca(config), config, on_bad_row, ReadSummary()))
    assert str(caught.value) == (
        "format.columns.output=anser is in no row: unknown column 'anser'. Did you mean 'answer'? "
        "Valid: answer, question."
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_a_column_that_no_row_has_is_reported_even_where_the_field_is_there(rows: int) -> None:
    config = FormatConfig(columns={"output": "corected"})
    with pytest.raises(FrameworkError) as caught:
        told_of([{**ALPACA, "corrected": "that"}] * rows, config=config)
    assert str(caught.value) == (
        "format.columns.output=corected is in no row: unknown column 'corected'. Did you mean 'corrected'? "
        "Valid: corrected, instruction, output."
    )


def test_one_row_with_the_column_is_enough() -> None:
    config = FormatConfig(columns={"output": "corrected"})
    examples, _ = told_of([ALPACA, {**ALPACA, "corrected": "that"}, ALPACA], config=config)
    assert [example.messages[-1].content for example in examples] == ["it", "that", "it"]


def test_rows_held_out_or_mixed_in_may_have_other_columns() -> None:
    config = FormatConfig(columns={"instruction": "question", "input": "context"})
    for fields in (ALPACA, CHATML):
        examples = list(read(placed([fields]), Auto(config), config, OnBadRow.fail, ReadSummary(), strict=False))
        assert examples[0].messages == (ASKED, ANSWERED)


def test_without_rows_no_column_is_missed() -> None:
    assert told_of([], config=FormatConfig(columns={"instruction": "question"})) == ([], ReadSummary())


# Which format, and on what evidence.


def test_neighbours_of_one_format_are_one_run_with_the_fields_that_decided() -> None:
    extra = {**ALPACA, "input": "more", "id": 7}
    _, summary = told_of([ALPACA, extra, ALPACA, CHATML, {**CHATML, "prompt_id": "x"}, ALPACA])
    assert summary.counts.format_runs == [
        FormatRun("alpaca", "rows.jsonl:1", "rows.jsonl:3", 3, "instruction, output"),
        FormatRun("chatml", "rows.jsonl:4", "rows.jsonl:5", 2, "messages"),
        FormatRun("alpaca", "rows.jsonl:6", "rows.jsonl:6", 1, "instruction, output"),
    ]
    assert summary.counts.formats == {"alpaca": 4, "chatml": 2}


def test_where_no_field_alone_decides_all_are_named() -> None:
    _, summary = told_of([{**CHATML, "conversations": CHATML["messages"]}])
    assert [run.fields for run in summary.counts.format_runs] == ["messages, conversations"]


def test_a_bad_row_in_between_does_not_end_a_run() -> None:
    _, summary = told_of([ALPACA, {"instruction": 3, "output": ""}, ALPACA])
    assert summary.counts.format_runs == [FormatRun("alpaca", "rows.jsonl:1", "rows.jsonl:3", 2, "instruction, output")]


def test_a_file_that_changes_its_format_with_every_row_keeps_the_first_runs_and_counts_all_rows() -> None:
    _, summary = told_of([ALPACA, CHATML] * 500)
    assert summary.counts.formats == {"alpaca": 500, "chatml": 500}
    assert len(summary.counts.format_runs) == KEPT_RUNS
    assert summary.counts.format_runs[-1] == FormatRun("chatml", "rows.jsonl:20", "rows.jsonl:20", 1, "messages")


def test_fields_whose_names_are_data_do_not_pile_up() -> None:
    rows = [{**ALPACA, f"field {number}": number} for number in range(3000)]
    _, summary = told_of(rows)
    run = FormatRun("alpaca", "rows.jsonl:1", "rows.jsonl:3000", 3000, "instruction, output")
    assert summary.counts.format_runs == [run]


def test_two_readings_are_two_runs_and_counted_together() -> None:
    summary = ReadSummary()
    for _ in range(2):
        list(read(placed([ALPACA]), Alpaca(CONFIG), CONFIG, OnBadRow.fail, summary))
    assert ([run.rows for run in summary.counts.format_runs], summary.counts.formats) == ([1, 1], {"alpaca": 2})


@given(st.lists(st.sampled_from(["alpaca", "chatml", "bad"]), max_size=60))
def test_the_runs_add_up_to_the_good_rows(kinds: list[str]) -> None:
    samples: dict[str, Fields] = {"alpaca": {**ALPACA}, "chatml": {**CHATML}, "bad": {}}
    examples, summary = told_of([samples[kind] for kind in kinds])
    assert len(examples) == sum(summary.counts.formats.values()) == len(kinds) - summary.counts.bad_rows
    assert summary.counts.bad_rows == kinds.count("bad")
    assert summary.counts.formats == {kind: kinds.count(kind) for kind in dict.fromkeys(kinds) if kind != "bad"}
    good = [kind for kind in kinds if kind != "bad"]
    changes = sum(one != other for one, other in zip(good, ["", *good], strict=False))
    assert len(summary.counts.format_runs) == min(changes, KEPT_RUNS)
    assert sum(run.rows for run in summary.counts.format_runs) <= len(examples)
