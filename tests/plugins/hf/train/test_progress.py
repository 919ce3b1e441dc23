"""hf/train/progress.py: which steps have a log entry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny import chat_rows, tiny_llama
from tests.support.training import make, opened, train


@pytest.mark.parametrize(("share", "logged"), [("0", [1, 5, 7]), ("0.2", [1, 2, 3, 4, 5, 6, 7])])
def test_an_epoch_has_an_entry_only_if_there_was_a_validation(tmp_path: Path, share: str, logged: list[int]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(10)), encoding="utf-8")
    batch = ("trainer.per_device_train_batch_size=10", "trainer.gradient_accumulation_steps=1")
    words = ("trainer.max_steps=7", "trainer.logging_steps=5", *batch)
    plan = make(tiny_llama(tmp_path / "base"), rows, tmp_path / "run", *words, f"data.validation_split={share}")
    with opened(plan) as (model, data):
        _, steps = train(model, data, tmp_path)
    assert [step.step for step in steps] == logged
