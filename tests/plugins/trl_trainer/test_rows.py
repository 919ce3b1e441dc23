"""trl_trainer/rows.py: rows in the form of TRL."""

from __future__ import annotations

import pytest

from framework import FrameworkError
from framework.api.records import GroupedRows, Message, Prompt, TokenRow
from framework.api.schema import Role
from framework_plugins.trl_trainer import rows

CHOSEN = TokenRow([1, 2, 3, 4, 9], [-100, -100, 3, 4, -100], "pairs:1")
REJECTED = TokenRow([1, 2, 5], [-100, -100, 5], "pairs:1")


def test_a_pair_ends_with_its_last_learned_token() -> None:
    (pair,) = rows.pairs([GroupedRows((CHOSEN, REJECTED), (Role.answer, Role.rejected))])
    assert pair == {"prompt_ids": [1, 2], "chosen_ids": [3, 4], "rejected_ids": [5]}


def test_rows_of_sft_are_those_that_were_proven() -> None:
    (row,) = rows.token_rows([CHOSEN])
    assert row == {"input_ids": CHOSEN.input_ids, "labels": CHOSEN.labels}


def test_what_trl_cannot_say_of_a_row_is_refused() -> None:
    several = TokenRow([1, 2, 3, 4], [-100, 2, -100, 4], "rows:7")
    with pytest.raises(FrameworkError, match=r"rows:7: .* set data\.learn=last, or trainer=hf"):
        rows.labelled([GroupedRows((several,), facts={"desirable": 1})])
    other = TokenRow([7, 5], [-100, 5], "pairs:1")
    with pytest.raises(FrameworkError, match=r"pairs:1: the answers of a pair follow different tokens"):
        rows.pairs([GroupedRows((CHOSEN, other), (Role.answer, Role.rejected))])
    prompt = Prompt((Message("user", "How warm?"),), "20", tools=({"name": "weather"},), where="rows:8")
    with pytest.raises(FrameworkError, match=r"rows:8: trainer=trl gives TRL no tools: set trainer=hf"):
        rows.questions([prompt])
