"""Lengths, ballast, padding, and too few rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api.records import Example, Message, Severity
from framework_plugins.audit.config import Check
from tests.plugins.audit.made import Pair, audit_data, look


@pytest.mark.parametrize(
    ("rows", "words", "expected"),
    [
        (50, ["trainer.num_train_epochs=10"], "found"),
        (50, ["trainer.num_train_epochs=3"], "found"),
        (50, ["trainer.num_train_epochs=2"], "fine"),
        (500, ["trainer.num_train_epochs=10"], "found"),
        (500, ["trainer.num_train_epochs=5"], "fine"),
        (50, ["trainer.max_steps=50"], "found"),  # 8 rows a step: 8 passes
        (50, ["trainer.max_steps=10", "trainer.num_train_epochs=50"], "fine"),
        (50, ["trainer.num_train_epochs=10", "audit.standard.few_rows=10", "audit.standard.few_rows_epochs=9"], "fine"),
    ],
)
def test_too_few_rows_for_the_training(
    rows: int, words: list[str], expected: str, clean: list[Pair], tmp_path: Path
) -> None:
    data = audit_data(tmp_path, clean[:rows], words=["audit=[standard]", *words])
    found = {finding.name for finding in data.plan.audit["standard"].create().audit(data)}
    assert ("too_few_rows" in found) is (expected == "found")


def test_ballast_and_padding_are_noted(clean: list[Pair], tmp_path: Path) -> None:
    long = " ".join(f"page{number}" for number in range(900))
    rows = [
        (f"{asked} {long}" if number % 4 == 0 else asked, answered)
        for number, (asked, answered) in enumerate(clean[:200])
    ]
    found = look(audit_data(tmp_path, rows, words=["trainer.per_device_train_batch_size=8"]))
    assert {Check.low_supervision, Check.padding} <= set(found)
    one = look(audit_data(tmp_path / "one", rows, words=["trainer.per_device_train_batch_size=1"]))
    assert Check.padding not in one


@pytest.mark.parametrize(
    ("words", "metric", "expected"),
    [(60, "[exact_match]", "noted"), (60, "[exact_match,token_f1]", "fine"), (3, "[exact_match]", "fine")],
)
def test_exact_match_of_long_answers_is_noted(words: int, metric: str, expected: str, tmp_path: Path) -> None:
    answer = " ".join(f"word{number}" for number in range(words))
    rows = [(f"Question {number}?", answer) for number in range(20)]
    found = look(audit_data(tmp_path, rows, words=[f"metric={metric}"]))
    assert (Check.exact_match in found) is (expected == "noted")
    if expected == "noted":
        assert found[Check.exact_match].advice.endswith("metric=[exact_match,token_f1]")


def test_cut_rows_lose_their_stop_tokens(tmp_path: Path) -> None:
    rows = [("Who wrote Faust?", "Goethe wrote it, over sixty years"), ("Who wrote Emma?", "Austen")]
    words = ["trainer.max_seq_length=6"]
    dropped = look(audit_data(tmp_path / "drop", rows, words=words))[Check.too_long]
    cut = look(audit_data(tmp_path / "cut", rows, words=[*words, "data.overflow=truncate"]))[Check.too_long]
    assert "loses 7 learned tokens: they are left out" in dropped.text
    assert "loses 5 learned tokens, including the stop token" in cut.text
    assert cut.severity is dropped.severity is Severity.serious
    assert dropped.advice == "set trainer.max_seq_length=64, or shorten them"


def test_for_a_few_rows_that_are_far_longer_no_limit_is_advised_that_only_they_need(tmp_path: Path) -> None:
    long = " ".join(f"page{number}" for number in range(900))
    rows = [(f"Question {number}?", long if number == 7 else "Austen") for number in range(200)]
    found = look(audit_data(tmp_path, rows, words=["trainer.max_seq_length=512"]))[Check.too_long]
    assert found.advice == "shorten them: trainer.max_seq_length=64 fits 99% of the rows"


def test_a_cut_behind_the_last_learned_token_costs_nothing(tmp_path: Path) -> None:
    tail = Message("user", "and some more words that nobody learns")
    turns = (Message("user", "Who wrote Emma?"), Message("assistant", "Austen"))
    harmless = Example((*turns, tail), "chatml", "rows.jsonl:1")
    words = ["trainer.max_seq_length=7", "data.overflow=truncate"]
    found = look(audit_data(tmp_path / "none", [harmless], words=words))[Check.too_long]
    assert "1 of 1 training rows is longer than trainer.max_seq_length=7 and is cut, but no learned" in found.text
    assert found.severity is Severity.note
    both: list[Example | Pair] = [harmless, ("Who wrote Faust?", "Goethe wrote it, over sixty years")]
    found = look(audit_data(tmp_path / "one", both, words=words))[Check.too_long]
    assert "and 1 of them loses 4 learned tokens, including the stop token" in found.text
