"""exports/parity/check_rows.py: a long row whose end depends on its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from framework.api.records import Answer, Message, Prompt
from framework.util.errors import FrameworkError
from framework_plugins.exports.parity.check_rows import (
    COMPARED_TAIL,
    MAX_ROW_TOKENS,
    MOST_OPTIONS,
    answered_rows,
    long_row,
    option_rows,
)
from tests.support.families import make_tokenizer
from tests.support.speaks import Speaks
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened


@pytest.mark.parametrize("kind", ["llama3", "mistral_v3", "gemma", "qwen3"])
def test_it_has_as_many_tokens_as_asked_for_and_begins_as_a_conversation(kind: str) -> None:
    model = Speaks(make_tokenizer(kind))
    row = long_row(model, 2000)
    assert row is not None
    assert (len(row.ids), row.last, row.answer) == (2000, COMPARED_TAIL, ())
    text = model.tokenizer.decode(row.ids)
    assert 0 < text.index("The stations of a railway") < 60  # behind the opening of the user's turn
    short = long_row(model, 100)
    assert short is not None
    assert (len(short.ids), short.last) == (100, 100)
    assert long_row(model, 0) is None


def test_its_end_names_what_stands_at_its_beginning() -> None:
    from framework_plugins.exports.parity.check_rows import _entry

    entries = [_entry(number) for number in range(60)]
    assert entries[0].startswith("1. Orrin was opened in 1840. ")
    assert all(entries[number % 5].split()[1] in entries[number] for number in range(5, 60))
    assert len(set(entries)) == 60


def test_each_option_of_a_question_is_a_row_to_the_end_of_its_turn(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Which?", "output": "in"}\n' * 4, encoding="utf-8")
    with opened(make(tiny_llama(tmp_path / "base"), rows, tmp_path / "run")) as (model, _):
        asked = Message("user", "Which?")
        prompts = [Prompt((asked,), options=("in", "in time")), Prompt((asked,)), Prompt((asked,), options=("a", "b"))]
        scored = option_rows(model, prompts)
        assert [row.question for row in scored] == [1, 1, 2, 2]
        for row, option in zip(scored, ("in", "in time", "a", "b"), strict=True):
            assert row.ids[: len(row.prompt)] == list(scored[0].prompt)
            assert row.answer[-1] in model.stop_ids
            assert model.decode(row.answer[:-1]).strip() == option
            assert row.last == len(row.answer) + 1
        many = [Prompt((asked,), options=tuple(f"option {n}" for n in range(MOST_OPTIONS + 1)))]
        assert option_rows(model, many) == []


def test_a_long_prompt_takes_part_with_its_end() -> None:
    class Says(Speaks):
        def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
            assert batch_size == len(starts)
            return [Answer("", max_new_tokens, stopped=False, ids=(1,) * max_new_tokens) for _ in starts]

    model = Says(make_tokenizer("llama3"))
    told = Prompt((Message("system", "Be brief. " * 200), Message("user", "Sure?")))
    long, *short = answered_rows(model, [told], count=1, max_new_tokens=200)
    assert [*long.before, *long.prompt] == model.tokenize(long.text)
    assert (len(long.prompt), len(long.ids)) == (MAX_ROW_TOKENS // 2, MAX_ROW_TOKENS)
    assert "Sure?" in model.tokenizer.decode(list(long.prompt))
    assert {row.before for row in short} == {()}


def test_a_family_that_draws_no_answers_has_rows_of_prompts() -> None:
    class Fails(Speaks):
        def complete(self, starts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
            raise ValueError(f"no cache for {len(starts)} rows in {batch_size}, {max_new_tokens} tokens")

    rows = answered_rows(Fails(make_tokenizer("llama3")), [], count=0, max_new_tokens=8)
    assert [(bool(row.prompt), row.answer, row.stopped) for row in rows] == [(True, (), False)] * 4


def test_a_template_that_refuses_it_leaves_plain_text() -> None:
    class Refuses(Speaks):
        def render(self, prompt: Prompt) -> str:
            raise FrameworkError(f"a system prompt is missing among {len(prompt.messages)} turns")

    row = long_row(Refuses(make_tokenizer("llama3")), 50)
    assert row is not None
    assert len(row.ids) == 50
