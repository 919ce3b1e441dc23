"""framework/data/prompts.py: prompts of the user's own, in any format, with or without an answer."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from framework import Component, FrameworkError
from framework.api.records import Example, Message, Prompt
from framework.api.schema import FormatConfig
from framework.api.selection import Selection
from framework.data import prompts
from framework.hooks.session import current

Row = dict[str, Any]
SYSTEM = Message("system", "Be brief")
ASKED = Message("user", "Capital of Peru?")
LIMA = Message("assistant", "Lima")


def form(name: str = "auto", **settings: Any) -> Selection:
    component = current().plugins.components("format")[name]
    return Selection(component, component.schema(**settings))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Prompt]]:
    """Return a function that writes rows as JSON lines and reads them as prompts."""

    def run(*rows: Row, form: Selection = form()) -> list[Prompt]:  # noqa: B008 - one for all
        file = tmp_path / "my.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return prompts.read_prompts(str(file), [], "prompts", form=form)

    return run


Read = Callable[..., list[Prompt]]


def bare(found: list[Prompt]) -> list[Prompt]:
    """Leave out where the rows are."""
    return [dataclasses.replace(prompt, where="") for prompt in found]


TURN = {"role": "user", "content": "Capital of Peru?"}
SAID = {"from": "human", "value": "Capital of Peru?"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Capital of Peru?"},
        {"prompt": [TURN]},
        {"instruction": "Capital of Peru?"},
        {"instruction": "Capital of Peru?", "input": ""},
        {"messages": [TURN]},
        {"conversations": [SAID]},
        {"text": "Capital of Peru?"},
    ],
    ids=str,
)
def test_a_row_of_any_format_asks_with_an_answer_or_without(row: Row, read: Read) -> None:
    assert bare(read(row)) == [Prompt((ASKED,))]
    if "text" not in row:
        assert bare(read({**row, "reference": "Lima"})) == [Prompt((ASKED,), "Lima")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Capital of Peru?", "completion": "Lima"},
        {"instruction": "Capital of Peru?", "output": "Lima"},
        {"messages": [TURN, {"role": "assistant", "content": "Lima"}]},
        {"conversations": [SAID, {"from": "gpt", "value": "Lima"}]},
        {"prompt": "Capital of Peru?", "chosen": "Lima", "rejected": "Quito"},
    ],
    ids=str,
)
def test_the_answer_of_a_row_is_the_reference(row: Row, read: Read) -> None:
    assert bare(read(row)) == [Prompt((ASKED,), "Lima")]


def test_an_empty_answer_is_no_reference(read: Read) -> None:
    assert bare(read({"prompt": "Capital of Peru?", "completion": ""})) == [Prompt((ASKED,))]
    row = {"instruction": "Capital of Peru?", "output": "", "reference": "Lima"}
    assert bare(read(row)) == [Prompt((ASKED,), "Lima")]


def test_several_turns_and_tools_are_kept(read: Read) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    turns = [{"role": "system", "content": "Be brief"}, TURN, {"role": "assistant", "content": "Lima"}, TURN]
    (prompt,) = read({"messages": turns, "tools": tools})
    assert [turn.role for turn in prompt.messages] == ["system", "user", "assistant", "user"]
    assert prompt.reference is None
    assert list(prompt.tools) == tools


def test_the_system_prompt_and_the_columns_of_the_run_count(read: Read) -> None:
    own = form("alpaca", columns={"instruction": "question"}, system_prompt="Be brief", strip=True)
    assert bare(read({"question": " Capital of Peru? "}, form=own)) == [Prompt((SYSTEM, ASKED))]
    assert bare(read({"text": "Capital of Peru?"}, form=own)) == [Prompt((SYSTEM, ASKED))]
    assert (
        read({"messages": [{"role": "system", "content": "Be kind"}, TURN]}, form=own)[0].messages[0].content
        == "Be kind"
    )


def test_rows_that_do_not_fit_the_format_of_the_run_are_recognised(read: Read) -> None:
    found = read({"messages": [TURN]}, {"instruction": "Capital of Peru?"}, form=form("alpaca"))
    assert bare(found) == [Prompt((ASKED,))] * 2


def test_a_prompt_says_where_its_row_stands_and_what_it_belongs_to(read: Read) -> None:
    rows = {"prompt": "Capital of Peru?", "customer": 7}, {"prompt": "Capital of Peru?"}
    by_customer = prompts.chosen_format("chatml", form("alpaca", cluster="customer"))
    assert [(prompt.where, prompt.cluster) for prompt in read(*rows, form=by_customer)] == [
        ("my.jsonl:1", "7"), ("my.jsonl:2", ""),
    ]  # fmt: skip
    with pytest.raises(FrameworkError, match=r"^my\.jsonl:1: the field 'customer' is not valid text: "):
        read({"prompt": "Capital of Peru?", "customer": "\ud83d"}, form=by_customer)


def test_a_format_of_their_own_takes_over_the_system_prompt() -> None:
    chosen = prompts.chosen_format(
        "chatml", form("alpaca", system_prompt="Be brief", columns={"instruction": "question"})
    )
    assert (chosen.component.name, chosen.config.system_prompt, chosen.config.columns) == ("chatml", "Be brief", {})
    own = form("alpaca")
    assert prompts.chosen_format(None, own) is own
    with pytest.raises(FrameworkError, match=r"unknown format option 'chatlm'\. Did you mean 'chatml'\?"):
        prompts.chosen_format("chatlm", own)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("my.txt", b"Capital of Peru?\n\n  \nCapital of Peru?\r\n"),
        ("my.txt.gz", gzip.compress(b"Capital of Peru?\nCapital of Peru?", mtime=0)),
        ("my.csv", b"prompt,reference\nCapital of Peru?,\nCapital of Peru?,\n"),
        ("my.json", b'[{"prompt": "Capital of Peru?"}, {"text": "Capital of Peru?"}]'),
    ],
)
def test_files_of_every_kind_are_read(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert bare(prompts.read_prompts(str(tmp_path / name), [], "prompts", form=form())) == [Prompt((ASKED,))] * 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "Capital of Peru?"}, "no format fits a row with the fields question"),
        ({"prompt": 3}, "needs text in 'prompt', found a number"),
        ({"prompt": " "}, "it asks nothing: the last turn"),
        ({"text": ""}, "it asks nothing: the last turn"),
        ({"messages": [{"role": "system", "content": "Be brief"}]}, "it asks nothing: the last turn"),
        ({"messages": [{"role": "assistant", "content": "Lima"}]}, "it asks nothing: the last turn"),
        (
            {"messages": [{"role": "assistant", "content": "Lima"}, TURN]},
            "a conversation has to begin with a user's turn",
        ),
        ({"messages": [{"role": "poet", "content": "Lima"}]}, "poet"),
        ({"prompt": "Capital of Peru?", "reference": 3}, "needs text in 'reference', found 3"),
        ({"prompt": "\ud800"}, "the user's turn is not valid text"),
    ],
    ids=str,
)
def test_a_row_that_asks_nothing_is_named_with_its_line(row: Row, problem: str, read: Read) -> None:
    with pytest.raises(FrameworkError) as caught:
        read({"prompt": "Capital of Peru?"}, row)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("my.jsonl:2: ")
    assert problem in line


def test_of_many_bad_rows_the_first_are_named(read: Read) -> None:
    with pytest.raises(FrameworkError) as caught:
        read(*[{"prompt": number} for number in range(8)])
    *first, last = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in first] == [f"my.jsonl:{number}" for number in range(1, 6)]
    assert last == "and 3 more rows"


@pytest.mark.parametrize("content", ["", "\n \n"])
@pytest.mark.parametrize("name", ["my.jsonl", "my.txt"])
def test_an_empty_file_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(FrameworkError, match="there is no prompt in the file: it is empty"):
        prompts.read_prompts(str(tmp_path / name), [], "prompts", form=form())


def test_a_file_that_is_not_there_a_folder_and_no_json_are_refused(tmp_path: Path, read: Read) -> None:
    read({"prompt": "Capital of Peru?"})
    with pytest.raises(FrameworkError, match=r"there is no data file .*mine\.jsonl\. Beside it: my\.jsonl\."):
        prompts.read_prompts(str(tmp_path / "mine.jsonl"), [], "prompts", form=form())
    with pytest.raises(FrameworkError, match="this is a folder; give one of the files in it"):
        prompts.read_prompts(str(tmp_path), [], "prompts", form=form())
    (tmp_path / "my.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n', encoding="utf-8")
    with pytest.raises(FrameworkError, match=r"^my\.jsonl:2: not valid JSON"):
        prompts.read_prompts(str(tmp_path / "my.jsonl"), [], "prompts", form=form())


def test_inline_prompts_are_texts_or_rows() -> None:
    given = ["Capital of Peru?", {"prompt": "Capital of Peru?", "reference": "Lima"}, {"messages": [TURN]}]
    found = prompts.read_prompts(None, given, "prompts", form=form(system_prompt="Be brief"))
    assert bare(found) == [Prompt((SYSTEM, ASKED)), Prompt((SYSTEM, ASKED), "Lima"), Prompt((SYSTEM, ASKED))]
    with pytest.raises(FrameworkError) as caught:
        prompts.read_prompts(None, ["Capital of Peru?", 3, " "], "prompts", form=form())
    assert str(caught.value).splitlines() == [
        "prompts[1]: 3 is neither text nor a row: put text into quotation marks",
        "prompts[2]: it asks nothing: the last turn before the answer has to be the user's, with some text",
    ]


class Breaking:
    """A format with a mistake in its code."""

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def matches(self, fields: Mapping[str, Any]) -> bool:
        return "patient" in fields

    def example(self, fields: Mapping[str, Any]) -> Example:
        return Example((Message("user", fields["patient"][99]), LIMA), "breaking")


def test_a_format_that_breaks_is_named_with_the_line_of_its_code(read: Read) -> None:
    made = Selection(Component("breaking", FormatConfig, f"{__name__}:Breaking"), FormatConfig())
    pattern = r"my\.jsonl:1: format=breaking cannot read the row: IndexError.*prompts\.py:"
    with pytest.raises(FrameworkError, match=pattern):
        read({"patient": "My knee hurts", "doctor": "Since when?"}, form=made)
