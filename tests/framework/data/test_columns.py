"""framework/data/columns.py: a field is a column as it is, several that are joined, or left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.schema import FormatConfig
from framework.data.columns import Columns, problems
from framework.data.stage import load_data

ROW = {"Ticket text": "Broken.", "category": "refund", "reply": "Sorry.", "stars": 3, "a{b": "x", "n": None, "l": [1]}


def field(value: str | None, row: dict[str, Any] | None = None) -> Any:
    return Columns(FormatConfig(columns={"output": value})).read(ROW if row is None else row)[0].get("output")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("reply", "Sorry."),
        (r"{category}\n{reply}", "refund\nSorry."),
        ("{category}\n{reply}", "refund\nSorry."),
        ("On: {Ticket text} ({stars})", "On: Broken. (3)"),
        ('{{"category": "{category}"}}', '{"category": "refund"}'),
        ("a{{b", "x"),
    ],
)
def test_a_field_is_a_column_or_several_joined(value: str, text: str) -> None:
    assert field(value) == text


NESTED = {
    "inputs": {"question": "Why?", "context": "c"},
    "choices": [{"message": {"role": "assistant", "content": "So."}}, {"message": None}],
    "cell": '{"a": {"b": "in JSON"}}',
    "a.b": {"c": ["dots"]},
    "list": ["x", "y", "z"],
}


@pytest.mark.parametrize(
    ("value", "text", "left"),
    [
        ("inputs.question", "Why?", {"inputs.context"}),
        ("choices.0.message.content", "So.", {"choices.0.message.role", "choices.1"}),
        ("cell.a.b", "in JSON", set()),
        ("a.b.c.0", "dots", set()),
        ("list.1", "y", {"list.0"}),
        ("{inputs.question} {list.0}", "Why? x", {"inputs.context", "list.1"}),
    ],
)
def test_a_path_leads_into_objects_and_lists_and_what_is_left_of_them_keeps_its_path(
    value: str, text: str, left: set[str]
) -> None:
    columns = Columns(FormatConfig(columns={"output": value}))
    fields, _ = columns.read(NESTED)
    assert fields["output"] == text
    assert fields.keys() - NESTED.keys() - {"output"} == left
    columns.check()


@pytest.mark.parametrize(("value", "near"), [("inputs.qestion", "inputs.question"), ("list.7", ""), ("cell.a.x", "")])
def test_a_path_that_leads_nowhere_is_named_with_the_nearest(value: str, near: str) -> None:
    columns = Columns(FormatConfig(columns={"output": value}))
    columns.read(NESTED)
    with pytest.raises(FrameworkError, match=rf"output={value} is in no row: unknown column '{value}'.*{near}"):
        columns.check()


def test_joined_columns_are_no_fields_of_their_own() -> None:
    columns = Columns(FormatConfig(columns={"output": "{category} {reply}", "stars": None}))
    assert columns.read(ROW)[0].keys() == ROW.keys() - {"category", "reply", "stars"} | {"output"}
    columns.check()


@pytest.mark.parametrize(
    ("value", "found"),
    [("{reply}{n}", "'n', found null"), ("{reply}{l}", "'l', found [1]"), ("{reply}{x}", "'x', found no such column")],
)
def test_a_row_whose_columns_cannot_be_joined_is_refused(value: str, found: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        field(value)
    assert str(caught.value) == f"format.columns.output needs text or a number in the column {found}"


def test_a_row_without_any_of_the_columns_keeps_its_field() -> None:
    assert field("{category}{reply}", {"output": "it"}) == "it"


@pytest.mark.parametrize(
    ("value", "setting", "near"),
    [("{categry}{reply}", "output={categry}", "category"), (None, "output=null", "")],
)
def test_a_column_that_no_row_has_is_named_with_the_nearest(value: str | None, setting: str, near: str) -> None:
    columns = Columns(FormatConfig(columns={"output": value}))
    columns.read({"category": "a"} if value is None else {"category": "a", "categry_": "b"})
    with pytest.raises(FrameworkError, match=rf"^format\.columns\.{setting} is in no row: unknown column .*{near}"):
        columns.check()


def test_braces_that_do_not_match_are_refused_before_a_row_is_read(tmp_path: Path) -> None:
    assert list(problems({"output": "{a}", "input": "a", "label": None})) == []
    with pytest.raises(FrameworkError, match=r"format\.columns\.output='\{a': .* Write \{COLUMN\} for a column, and"):
        testing.plan(["format.columns={output: '{a'}"], run_dir=tmp_path)
    with pytest.raises(FrameworkError, match=r"format\.columns\.output='a\{\}' has braces without the name"):
        testing.plan(["format.columns={output: 'a{}'}"], run_dir=tmp_path)
    mixed = "data.mix=[{path: x.csv, count: 1, columns: {output: '{a'}}]"
    with pytest.raises(FrameworkError, match=r"data\.mix\[0\]\.columns\.output='\{a': "):
        testing.plan([mixed], run_dir=tmp_path)


def test_columns_of_a_table_with_spaces_in_their_names_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("Ticket text,category,reply\nBroken.,refund,Sorry.\n", encoding="utf-8")
    words = ["data=local_file", f"data.path='{file}'", "data.validation_split=0", "audit=[]"]
    joined = r'format.columns={instruction: Ticket text, output: "{category}\n{reply}"}'
    plan = testing.plan([*words, joined], run_dir=tmp_path / "run")
    model = testing.EchoModel(plan)
    assert load_data(plan, model).result.unread_fields == {}
    (example,) = model.examples.values()
    assert [turn.content for turn in example.messages] == ["Broken.", "refund\nSorry."]
