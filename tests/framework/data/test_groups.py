"""Groups of rows from the data to the training: read, proven, stored, cut, split and shown as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from framework import testing
from framework.api.audit import RowPart
from framework.api.data import Data, answer_rows
from framework.api.records import Example, GroupedRows, Message, TokenGroup, TokenRow
from framework.api.schema import Role
from framework.data import lengths, writer
from framework.data.stage import load_data
from framework.data.store import GROUPS, Store
from framework.data.writer import Writer
from framework.run import pipeline
from framework.util.errors import FrameworkError
from tests.support import pairs_plugin
from tests.support.pairs import pair_rows, pairs
from tests.support.pairs_plugin import token_row

Load = Callable[..., Data]


@pytest.fixture(autouse=True, scope="module")
def plugin() -> Iterator[None]:
    with pairs():
        yield


@pytest.fixture
def load(tmp_path: Path, own_cache: Path) -> Load:
    """Return what loads rows of a file with some settings and the model for tests."""
    del own_cache

    def loaded(text: str, *words: str) -> Data:
        file = tmp_path / "rows.jsonl"
        file.write_text(text, encoding="utf-8")
        data = (f"data.path={file}", "data=local_file", "audit=[]", "data.validation_split=0.25")
        plan = testing.plan([*data, *words], run_dir=tmp_path / "run")
        return load_data(plan, testing.EchoModel(plan))

    return loaded


def store(folder: Path, *batches: list[TokenGroup]) -> Store:
    def fill(into: Writer) -> None:
        for batch in batches:
            asked = (Message("user", "say"), Message("assistant", "it"))
            into.add([Example(asked, "chatml", f"rows:{n}") for n in range(len(batch))], batch, RowPart.train, 0)

    return writer.write(folder, fill)


def pair(problem: str = "", learned: int = 3) -> GroupedRows:
    rejected = token_row(40, 12, learned)
    other = TokenRow(rejected.input_ids, rejected.labels, problem=problem)
    arrays = {"ids": (np.arange(6, dtype=np.int32).reshape(3, 2), np.ones((learned, 2), np.int32))}
    return GroupedRows((token_row(3, 7), other), (Role.answer, Role.rejected), {"label": 0.5}, arrays)


def test_groups_come_back_as_they_were_written_beside_rows_that_cost_nothing(tmp_path: Path) -> None:
    assert not (store(tmp_path / "plain", [token_row(3, 5)], [token_row(9, 6)]).folder / GROUPS).exists()
    kept = store(tmp_path / "mixed", [token_row(3, 5), token_row(9, 6)], [token_row(20, 4), pair()])
    assert [type(kept.token_group(number)) for number in range(4)] == [TokenRow] * 3 + [GroupedRows]
    found, wanted = kept.token_group(3), pair()
    assert [(each.input_ids, each.labels) for each in found.rows] == [(e.input_ids, e.labels) for e in wanted.rows]
    assert (found.roles, found.facts, found.answer.input_ids) == (wanted.roles, wanted.facts, wanted.rows[0].input_ids)
    for one, other in zip(found.arrays["ids"], wanted.arrays["ids"], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert kept.columns.tokens.tolist() == [5, 6, 4, 12]  # the longest row
    assert kept.columns.supervised.tolist() == [3, 3, 3, 6]
    assert kept.columns.turns.tolist() == [1, 1, 1, 2]
    assert kept.total_tokens().tolist() == [5, 6, 4, 19]
    assert kept.total_tokens(8).tolist() == [5, 6, 4, 15]


def test_a_group_is_cut_proven_and_learned_as_one(tmp_path: Path) -> None:
    kept = store(tmp_path / "rows", [pair("no stop token"), pair(learned=0), pair()])
    assert kept.columns.proven.tolist() == [False, True, True]
    assert next(kept.texts()).problem[0] == "the rejected turns: no stop token"
    assert kept.columns.supervised.tolist() == [6, 0, 6]
    (cut,) = lengths.token_groups(kept, np.array([2]), 10)
    assert [len(each.input_ids) for each in cut.rows] == [7, 10]
    assert [len(each) for each in cut.arrays["ids"]] == [3, 1]
    # At 9 tokens nothing of the rejected answer is left, so the answer is lost with it.
    assert [kept.supervised_after(2, limit) for limit in (12, 10, 9)] == [0, 2, 6]
    assert answer_rows([pair()])[0].input_ids == token_row(3, 7).input_ids


def test_pairs_are_split_counted_and_shown_by_group(load: Load) -> None:
    data = load(pair_rows(12), "method=pairs")
    assert (data.result.train_rows, data.result.validation_rows) == (len(data.train), len(data.validation))
    assert len(data.train) + len(data.validation) == 12
    assert {group.roles for group in data.train_groups} == {(Role.answer, Role.rejected)}
    assert [group.answer for group in data.train_groups] == list(data.train)
    assert data.result.rejected_answers == 0
    total = sum(len(each.input_ids) for group in data.train_groups for each in group.rows)
    assert data.result.tokens == total
    shown = [view.where for view in data.result.view]
    assert shown[1] == f"{shown[0]}, rejected"
    assert data.result.proof.rows == 12
    assert load(pair_rows(12)).result.rejected_answers == 12


def test_a_question_that_fills_the_limit_leaves_no_pair_and_is_counted(load: Load) -> None:
    long = json.dumps({"prompt": "word " * 300, "chosen": "yes", "rejected": "no"}) + "\n"
    words = ("method=pairs", "trainer.max_seq_length=200", "data.validation_split=0")
    for overflow in ("drop", "truncate"):
        result = load(pair_rows(4) + long, *words, f"data.overflow={overflow}").result
        assert (result.train_rows, result.overflow_rows, result.overflow_rows_left_out) == (4, 1, 1)
    with pytest.raises(FrameworkError, match="leaves no token to learn: the 1 training rows have"):
        load(long, *words, "data.overflow=truncate")


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        (
            ("method=pairs",),
            '{"instruction": "say", "output": "it"}\n',
            "jsonl:1: the row has no rejected answer",
        ),
        (("loss=weighted",), pair_rows(3), "loss=weighted reads 'weight' of each row, and 3 of 3 rows have none"),
        (("method=empty",), pair_rows(3), "rows.jsonl:1: method=empty makes no row of it"),
        (("method=undeclared",), pair_rows(3), "makes a row of the role rejected, which its config does not name"),
        (
            ("format=taught_ids", "loss=taught_loss"),
            '{"question": "say", "answer": "it", "ids": [[1, 2]]}\n',
            "rows.jsonl:1: format=taught_ids: the array ids has 1 row of numbers, and 2 tokens are learned",
        ),
        (
            ("format=taught_ids", "loss=taught_loss"),
            '{"question": "say", "answer": "it", "ids": [[1, 2], [1]]}\n',
            "rows.jsonl:1: format=taught_ids: the array ids is not a table of numbers",
        ),
    ],
)
def test_rows_that_do_not_suit_the_method_or_the_loss_are_refused(
    load: Load, words: tuple[str, ...], text: str, message: str
) -> None:
    with pytest.raises(FrameworkError, match=message):
        load(text, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("method=pairs", "loss=by_row"),
            "loss=by_row has no effect with method=pairs, which brings its",
        ),
        (("loss=of_pairs",), "loss=of_pairs reads the rejected rows of a group, and method=sft has none"),
        (("method=pairs", "adapter=full", "launch=fsdp2"), "and adapter=full starts the training from something else"),
    ],
)
def test_a_loss_that_needs_what_its_method_does_not_give_is_refused_in_the_plan(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FrameworkError, match=message):
        testing.plan([*words], run_dir=tmp_path)


def test_a_trainer_that_learns_by_one_loss_only_says_so(tmp_path: Path) -> None:
    plan = testing.plan(["loss=by_row", "logger=[]"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match="loss=by_row: trainer=echo learns by the mean loss of all learned tokens"):
        pipeline.run(plan)
    assert not (tmp_path / "run").exists()


def test_a_group_without_rows_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="0 rows and 1 roles"):
        GroupedRows(())


def test_the_plan_counts_the_passes_of_a_method(tmp_path: Path) -> None:
    plan = testing.plan(["method=pairs"], run_dir=tmp_path)
    assert (plan.cost.rows, plan.cost.more_forwards) == (2, 1)
    assert testing.plan([], run_dir=tmp_path).cost.rows == 1
    assert pairs_plugin.PairsConfig.own_objective
