"""plugins/framework_hf/trainer.py: the loss is the plain one, computed on less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoModelForCausalLM

from framework.records import TokenRow
from framework_hf.chat import IGNORE
from framework_hf.trainer import collate, summed_loss
from tests.support.tiny import tiny_llama

VOCABULARY = 300
ROWS = st.lists(
    st.lists(st.tuples(st.integers(3, VOCABULARY - 1), st.booleans()), min_size=2, max_size=40), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path_factory.mktemp("model")), dtype=torch.float32)


def to_row(tokens: list[tuple[int, bool]]) -> TokenRow:
    """The first token is never learned: nothing stands before it."""
    ids = [token for token, _ in tokens]
    labels = [token if learned and place else IGNORE for place, (token, learned) in enumerate(tokens)]
    labels[-1] = ids[-1]
    return TokenRow(ids, labels)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_loss_and_gradient_equal_plain_cross_entropy_over_all_positions(
    model: Any, rows: list[list[tuple[int, bool]]]
) -> None:
    batch = collate([to_row(row) for row in rows], pad_id=0)
    model.zero_grad()
    loss, count = summed_loss(model, batch)
    torch.autograd.backward(loss)
    ours = model.lm_head.weight.grad.clone()

    model.zero_grad()
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    plain = functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1), reduction="sum"
    )
    torch.autograd.backward(plain)
    assert count == int((batch["labels"] != IGNORE).sum())
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, model.lm_head.weight.grad, rtol=1e-4, atol=1e-6)


def test_padding_stands_right_and_is_neither_seen_nor_learned() -> None:
    short = TokenRow([5, 6], [IGNORE, 6])
    long = TokenRow([7, 8, 9], [IGNORE, IGNORE, 9])
    batch = collate([short, long], pad_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 1], [7, 8, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORE, 6, IGNORE], [IGNORE, IGNORE, 9]]
