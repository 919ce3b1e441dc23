"""The data stage: formatting, splitting, fitting, counting; every refusal names the rows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError, testing
from framework.data import Data, fingerprint, fit, load_data, split, to_examples, to_prompt
from framework.records import Example, Message, Row, TokenRow
from framework.schema import Overflow
from framework_formats.config import AlpacaConfig, ChatMLConfig
from framework_formats.formats import Alpaca, ChatML


def conversation(number: int) -> Example:
    turns = (Message("user", f"say {number}"), Message("assistant", str(number)))
    return Example(turns, "chatml", f"row {number}")


def token_row(length: int, supervised: int) -> TokenRow:
    """Return a row whose last tokens are learned."""
    ids = list(range(length))
    return TokenRow(ids, [-100] * (length - supervised) + ids[length - supervised :], f"row of {length}")


def load(file: Path, run_dir: Path, *words: str) -> Data:
    plan = testing.plan(["data=local_file", f"data.path={file}", *words], run_dir=run_dir)
    return load_data(plan, testing.EchoModel(plan))


@given(count=st.integers(0, 60), share=st.floats(0, 0.99), seed=st.integers(0, 2**32))
def test_a_split_is_a_partition_that_keeps_the_order_and_depends_on_the_seed_alone(
    count: int, share: float, seed: int
) -> None:
    examples = [conversation(number) for number in range(count)]
    train, held_out = split(examples, share, seed)
    where = {example.where: number for number, example in enumerate(examples)}
    for part in (train, held_out):
        places = [where[example.where] for example in part]
        assert places == sorted(places)
    assert sorted([*train, *held_out], key=lambda example: where[example.where]) == examples
    assert bool(held_out) == (share > 0 and count > 1)
    assert train or not count
    assert split(examples, share, seed) == (train, held_out)


def test_another_seed_gives_another_split() -> None:
    examples = [conversation(number) for number in range(50)]
    assert len({tuple(split(examples, 0.2, seed)[1]) for seed in range(5)}) == 5


ROWS = [token_row(4, 2), token_row(8, 3), token_row(12, 10)]


@pytest.mark.parametrize(
    ("overflow", "limit", "lengths"),
    [
        (Overflow.drop, 12, [4, 8, 12]),
        (Overflow.drop, 8, [4, 8]),
        (Overflow.drop, 7, [4]),
        (Overflow.truncate, 12, [4, 8, 12]),
        (Overflow.truncate, 6, [4, 6, 6]),  # the second keeps one learned token
        (Overflow.truncate, 5, [4, 5]),  # the second has none left
        (Overflow.fail, 12, [4, 8, 12]),
    ],
)
def test_rows_longer_than_the_limit_are_treated_as_asked(overflow: Overflow, limit: int, lengths: list[int]) -> None:
    kept = fit(ROWS, limit, overflow)
    assert [len(row.input_ids) for row in kept] == lengths
    assert all(len(row.labels) == len(row.input_ids) and row.supervised for row in kept)


@pytest.mark.parametrize(
    ("overflow", "limit", "text"),
    [
        (
            Overflow.fail,
            7,
            "7 (row of 8 has 8 tokens, the longest 12): set trainer.max_seq_length=12, or data.overflow=drop|truncate",
        ),
        (Overflow.drop, 3, "trainer.max_seq_length=3 leaves no supervised token: the 3 rows have 4 to 12 tokens."),
        (Overflow.truncate, 2, "trainer.max_seq_length=2 leaves no supervised token"),
    ],
)
def test_a_limit_that_leaves_nothing_is_refused_with_one_that_would_do(
    overflow: Overflow, limit: int, text: str
) -> None:
    with pytest.raises(FrameworkError) as caught:
        fit(ROWS, limit, overflow)
    assert text in str(caught.value)


@pytest.mark.parametrize(("bad", "last"), [(1, "rows.jsonl:1: "), (10, "rows.jsonl:10: "), (13, "and 3 more rows")])
def test_the_first_ten_wrong_rows_are_named_in_one_message(bad: int, last: str) -> None:
    rows = [Row({"question": "?"}, f"rows.jsonl:{number}") for number in range(1, bad + 1)]
    good = Row({"instruction": "say", "output": "it"}, "rows.jsonl:99")
    with pytest.raises(FrameworkError) as caught:
        to_examples([good, *rows], Alpaca(AlpacaConfig()))
    lines = str(caught.value).splitlines()
    assert lines[0] == "rows.jsonl:1: format alpaca needs the field 'instruction'; the row has question"
    assert len(lines) == min(bad, 11)
    assert lines[-1].startswith(last)


def test_an_example_remembers_where_its_row_stands() -> None:
    (example,) = to_examples([Row({"instruction": "say", "output": "it"}, "a.jsonl:7")], Alpaca(AlpacaConfig()))
    assert example.where == "a.jsonl:7"


@pytest.mark.parametrize(("roles", "last"), [(["assistant", "user"], "'user'"), ([], "no message")])
def test_a_conversation_that_does_not_end_with_the_assistant_is_refused(roles: list[str], last: str) -> None:
    class Fixed:
        def matches(self, fields: Any) -> bool:
            return bool(fields)

        def example(self, fields: Any) -> Example:
            return Example(tuple(Message(role, fields["text"]) for role in roles), "fixed")

    with pytest.raises(FrameworkError, match=f"ends with an assistant's turn, this one with {last}"):
        to_examples([Row({"text": "hi"}, "a:1")], Fixed())


def test_text_that_no_file_can_hold_is_refused() -> None:
    row = Row({"instruction": "say", "output": "so \ud83d"}, "a.jsonl:7")
    with pytest.raises(FrameworkError, match=r"^a\.jsonl:7: the assistant's turn is no valid text: .* at character 4$"):
        to_examples([row], Alpaca(AlpacaConfig()))


def test_a_prompt_is_the_conversation_up_to_the_last_answer_which_is_its_reference() -> None:
    prompt = to_prompt(conversation(3))
    assert prompt.messages == (Message("user", "say 3"),)
    assert prompt.reference == "3"


def test_the_fingerprint_depends_on_fields_and_order_but_not_on_places() -> None:
    one, two = Row({"a": 1, "b": "ü"}, "x:1"), Row({"a": 2}, "x:2")
    assert fingerprint([one, two]) == fingerprint([Row({"b": "ü", "a": 1}, "y:8"), Row({"a": 2}, "")])
    assert len({fingerprint(rows) for rows in ([], [one], [one, two], [two, one], [Row({"a": 3}, "x:2")])}) == 5


def test_loading_counts_what_will_be_learned(data_file: Path, tmp_path: Path) -> None:
    data = load(data_file, tmp_path)
    result = data.result
    assert (result.train_rows, result.validation_rows, result.prompts) == (18, 2, 2)
    assert result.formats == {"alpaca": 20}
    assert (result.tokens, result.supervised_tokens, result.longest) == (18 * 7, 18 * 4, 7)  # say 1 . it is 1 .
    assert (result.overflow_rows, result.overflow_supervised_tokens) == (0, 0)


def test_what_does_not_fit_is_counted(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"instruction": "say", "output": "it " * length} for length in (1, 2, 3, 30)]
    data = load(write_rows(rows), tmp_path, "trainer.max_seq_length=10", "data.validation_split=0")
    assert (data.result.train_rows, data.result.overflow_rows, data.result.overflow_supervised_tokens) == (3, 1, 31)


def test_files_of_their_own_hold_out_rows_and_give_prompts(
    write_rows: Callable[..., Path], rows: list[dict[str, str]], tmp_path: Path
) -> None:
    held_out, prompts = write_rows(rows[:3]), write_rows(rows[:5])
    words = [f"data.validation_path={held_out}", f"data.prompts_path={prompts}"]
    data = load(write_rows(rows), tmp_path, *words)
    assert (data.result.train_rows, data.result.validation_rows, data.result.prompts) == (20, 3, 5)
    assert [prompt.reference for prompt in data.prompts] == [row["output"] for row in rows[:5]]


def test_data_without_rows_is_refused(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"^data 'local_file' has no rows$"):
        load(write_rows([]), tmp_path)


def test_a_conversation_that_begins_with_the_assistant_is_refused() -> None:
    row = Row({"messages": [{"role": "assistant", "content": "Hello"}]}, "rows.jsonl:3")
    with pytest.raises(FrameworkError, match=r"rows\.jsonl:3: .*begins with a user's turn"):
        to_examples([row], ChatML(ChatMLConfig()))


def test_a_format_that_stumbles_over_a_row_is_told_with_the_row_and_the_line_of_its_code() -> None:
    class Careless:
        def matches(self, fields: Mapping[str, Any]) -> bool:
            return "thread" in fields

        def example(self, fields: Mapping[str, Any]) -> Example:
            return Example((Message("user", fields["thread"][0]["text"]), Message("assistant", "x")), "careless")

    rows = [Row({"thread": [{"text": "a"}]}, "rows.jsonl:1"), Row({"thread": "a text"}, "rows.jsonl:2")]
    with pytest.raises(FrameworkError) as caught:
        to_examples(rows, Careless())
    (line,) = str(caught.value).splitlines()
    assert line.startswith("rows.jsonl:2: the format cannot read the row: TypeError: string indices must be integers")
    assert "test_data.py:" in line
