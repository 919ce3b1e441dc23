"""framework/data/store.py: what is written is what is read, whole or not at all."""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.audit import RowPart
from framework.api.records import Example, Message, TokenRow, ToolCall
from framework.data import conversations, store, writer
from framework.data.store import Store
from framework.data.writer import Writer
from tests.support.examples import examples

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.lists(st.lists(st.tuples(st.integers(0, 50_000), st.booleans()), max_size=12), min_size=1, max_size=30)


def example(number: int, answer: str = "Lima") -> Example:
    return Example((Message("user", f"say {number}"), Message("assistant", answer)), "chatml", f"rows.jsonl:{number}")


def token_row(pairs: list[tuple[int, bool]], problem: str = "") -> TokenRow:
    return TokenRow([token for token, _ in pairs], [token if on else -100 for token, on in pairs], problem=problem)


def write(folder: Path, rows: list[TokenRow], part: int = RowPart.train) -> Store:
    def fill(into: Writer) -> None:
        into.add([example(number) for number in range(len(rows))], rows, part, 0)

    return writer.write(folder, fill)


@settings(max_examples=examples(60))
@given(batches=st.lists(ROWS, min_size=1, max_size=5))
def test_rows_come_back_as_they_were_written_whatever_the_size_of_a_batch(
    batches: list[list[list[tuple[int, bool]]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = [[token_row(row) for row in batch] for batch in batches]
    rows = [row for part in parts for row in part]
    places = iter(range(len(rows)))

    def fill(into: Writer) -> None:
        for part in parts:
            into.add([example(next(places)) for _ in part], part, RowPart.train, 0)

    kept = writer.write(tmp_path_factory.mktemp("store") / "rows", fill)
    back = [kept.token_row(number) for number in range(len(kept))]
    assert [(row.input_ids, row.labels) for row in back] == [(row.input_ids, row.labels) for row in rows]
    texts = [where for batch in kept.texts() for where in batch.where]
    assert texts == [row.where for row in back] == [f"rows.jsonl:{number}" for number in range(len(rows))]
    assert [batch.start for batch in kept.texts()] == [sum(map(len, parts[:number])) for number in range(len(parts))]
    assert [kept.example(number).where for number in (0, len(rows) - 1)] == [texts[0], texts[-1]]
    assert kept.columns.tokens.tolist() == [len(row.input_ids) for row in rows]
    assert kept.columns.supervised.tolist() == [row.supervised for row in rows]


def test_runs_of_learned_tokens_are_counted_for_each_row(tmp_path: Path) -> None:
    marks = ["", "1", "0", "101", "0110", "11", "1", "10"]
    kept = write(tmp_path / "rows", [token_row([(7, mark == "1") for mark in row]) for row in marks])
    assert kept.columns.turns.tolist() == [len([run for run in row.split("0") if run]) for row in marks]


def test_learned_tokens_beyond_a_limit_are_counted(tmp_path: Path) -> None:
    kept = write(tmp_path / "rows", [token_row([(1, False), (2, True), (3, True), (4, False), (5, True)])])
    assert [kept.supervised_after(0, limit) for limit in range(6)] == [3, 3, 2, 1, 1, 0]


@given(text=TEXT, thought=TEXT, name=TEXT)
def test_a_conversation_comes_back_from_json(text: str, thought: str, name: str) -> None:
    call = ToolCall("weather", {"city": text, "days": [1, None, 2.5]}, "call_1")
    turns = (
        Message("system", text),
        Message("user", text),
        Message("assistant", "", (call,), reasoning_content=thought),
        Message("tool", text, name=name, tool_call_id="call_1"),
        Message("assistant", text),
    )
    for given_ in (
        Example(turns, "chatml", "x:1", ({"name": "weather", "parameters": {}},), (Message("assistant", name),)),
        Example((), "text", "x:2", text=text),
        Example(turns, "decide", "x:3", options=(text, name)),
    ):
        assert conversations.from_json(conversations.to_json(given_), given_.where) == given_


def test_a_call_is_the_answer_where_nothing_is_said() -> None:
    call = Message("assistant", "", (ToolCall("weather", {"city": "Lima"}),))
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lima"}}\n</tool_call>'
    assert conversations.answer_text(Example((Message("user", "?"), call), "chatml")) == text
    assert conversations.answer_text(Example((), "text", text="all of it")) == "all of it"


def test_what_is_asked_leaves_the_system_prompt_and_the_last_turn_out() -> None:
    turns = [("system", "be brief"), ("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    assert conversations.question_text(Example(tuple(Message(*turn) for turn in turns), "chatml")) == "one\ntwo\nthree"


def test_earlier_answers_that_are_learned_stand_side_by_side_an_empty_one_too() -> None:
    turns = [
        Message("user", "one"), Message("assistant", ""), Message("user", "two"),
        Message("assistant", "no", learned=False), Message("user", "three"), Message("assistant", "yes"),
        Message("user", "four"), Message("assistant", "last"),
    ]  # fmt: skip
    assert conversations.earlier_answers(Example(tuple(turns), "chatml")) == f" {Example.SEPARATOR}yes"
    assert conversations.earlier_answers(Example((), "text", text="all of it")) == ""


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(into: Writer) -> None:
        into.add([example(1)], [token_row([(1, True)])], RowPart.train, 0)
        raise KeyError

    with pytest.raises(KeyError):
        writer.write(tmp_path / "rows", fill)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_make_an_empty_store(tmp_path: Path) -> None:
    kept = writer.write(tmp_path / "rows", lambda _: None)
    assert len(kept) == 0
    assert list(kept.texts()) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", [store.TOKENS, store.TEXTS, store.COLUMNS, store.SUMMARY])
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"\x00"), cut])
def test_a_damaged_store_is_removed_and_not_used(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    write(tmp_path / "rows", [token_row([(1, True)])])
    assert store.opened(tmp_path / "rows") is not None
    damage(tmp_path / "rows" / name)
    assert store.opened(tmp_path / "rows") is None
    assert not (tmp_path / "rows").exists()


def test_runs_side_by_side_share_one_store(tmp_path: Path) -> None:
    start = threading.Barrier(3)

    def run(_: int) -> list[list[int]]:
        start.wait()
        kept = write(tmp_path / "rows", [token_row([(number, True)]) for number in range(50)])
        return [kept.token_row(number).input_ids for number in range(50)]

    with ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(run, range(3)))
    assert seen == [[[number] for number in range(50)]] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_store_that_was_long_not_used_is_removed_and_one_in_use_stays(tmp_path: Path) -> None:
    for name in ("old", "used"):
        write(tmp_path / name, [token_row([(1, True)])])
        past = time.time() - (store.DAYS + 1) * 24 * 3600
        os.utime(tmp_path / name, (past, past))
    assert store.opened(tmp_path / "used") is not None
    store.remove_old(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
    store.remove_old(tmp_path / "nowhere")


def test_the_parts_of_a_row_are_noted(tmp_path: Path) -> None:
    turns = (Message("system", "be brief"), Message("user", "?"), Message("assistant", "!"))

    def fill(into: Writer) -> None:
        into.add([Example(turns, "chatml", "a:1")], [token_row([(1, True)], "not proven")], RowPart.prompts, 2)
        into.add([Example((), "text", "b:1", text="words")], [token_row([(1, True)])], RowPart.train, 0)
        into.summary.counts = dataclasses.replace(into.summary.counts, bad_rows=3)

    columns = (kept := writer.write(tmp_path / "rows", fill)).columns
    assert columns.part.tolist() == [RowPart.prompts, RowPart.train]
    assert columns.source.tolist() == [2, 0]
    assert columns.proven.tolist() == [False, True]
    assert columns.system.tolist() == [True, False]
    assert columns.plain.tolist() == [False, True]
    assert [problem for batch in kept.texts() for problem in batch.problem] == ["not proven", ""]
    assert kept.summary.counts.bad_rows == 3
    assert kept.example(0) == Example(turns, "chatml", "a:1")


def test_some_rows_can_be_chosen_in_any_order(tmp_path: Path) -> None:
    kept = write(tmp_path / "rows", [token_row([(number, True)]) for number in range(9)])
    rows = store.Rows(np.array([5, 2, 8]), kept.token_row)
    assert [row.input_ids for row in rows] == [[5], [2], [8]]
    assert [row.input_ids for row in rows[1:]] == [[2], [8]]
    assert rows[-1].input_ids == [8]
    assert len(rows[:2]) == 2
    with pytest.raises(IndexError):
        rows[3]


def test_reported_is_readable_json(tmp_path: Path) -> None:
    kept = write(tmp_path / "rows", [token_row([(1, True)])])
    assert json.loads((kept.folder / store.SUMMARY).read_text(encoding="utf-8"))["counts"]["bad_rows"] == 0
