"""The general suite is asked in parts, and each measure has an item for everything that was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.data import Data
from framework.api.records import Aspect, EvalResult, Example, Message, TokenRow
from framework.testing import EchoModel
from framework_plugins.evals.config import ForgettingConfig
from framework_plugins.evals.forgetting import Forgetting
from framework_plugins.evals.general import suite
from tests.support.results import EVEN

NO_DATA = Data([], [], [], EVEN)


@pytest.fixture
def model(tmp_path: Path) -> EchoModel:
    return EchoModel(testing.plan([], run_dir=tmp_path))


def ask(model: EchoModel, **settings: int) -> EvalResult:
    return Forgetting(ForgettingConfig(**settings)).evaluate(model, NO_DATA, {})


def test_the_whole_suite_is_asked(model: EchoModel) -> None:
    result = ask(model)
    sizes = {name: len(measure.items) for name, measure in result.measures.items()}
    assert sizes == {
        "general_accuracy": 128,
        "general_answers": 64,
        "general_perplexity": 64,
        "general_divergence": 64,
    }
    assert {measure.aspect for measure in result.measures.values()} == {Aspect.general}
    assert [name for name, measure in result.measures.items() if measure.higher_is_better] == ["general_accuracy"]
    assert (result.samples, result.notes) == ([], [])


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"questions": 2, "instructions": 3, "texts": 4}, [16, 3, 4, 3]),
        ({"questions": 0, "instructions": 0, "texts": 1}, [1]),
        ({"questions": 1, "instructions": 0, "texts": 0}, [8]),
        ({"questions": 0, "instructions": 2, "texts": 0}, [2, 2]),
        ({"questions": 0, "instructions": 0, "texts": 0}, []),
    ],
)
def test_a_part_can_be_made_smaller_or_left_out(model: EchoModel, settings: dict[str, int], sizes: list[int]) -> None:
    result = ask(model, **settings)
    assert [len(measure.items) for measure in result.measures.values()] == sizes
    assert tuple(result.measures) == ForgettingConfig(**settings).measures()


def test_the_perplexities_are_by_the_word(model: EchoModel) -> None:
    result = ask(model, questions=0, instructions=0, texts=3)
    texts = [row["text"].split() for row in suite.rows("texts")[:3]]
    measure = result.measures["general_perplexity"]
    assert measure.exponential
    assert measure.weights == [len(words) for words in texts]
    assert measure.value == pytest.approx(len(model.words) + 1)  # each word is one of those, all alike
    answers = [row["answer"].split() for row in suite.rows("instructions")[:2]]
    result = ask(model, questions=0, instructions=2, texts=0)
    assert result.measures["general_answers"].weights == [len(words) for words in answers]


def test_the_divergence_is_taken_at_the_answers(model: EchoModel) -> None:
    asked: list[TokenRow] = []

    def divergence(rows: Sequence[TokenRow]) -> list[float]:
        asked.extend(rows)
        return [0.25 * number for number in range(len(rows))]

    model.divergence = divergence  # type: ignore[method-assign]
    measure = ask(model, questions=0, instructions=3, texts=0).measures["general_divergence"]
    assert (measure.value, measure.items) == (0.25, [0.0, 0.25, 0.5])
    for row, given in zip(asked, suite.rows("instructions"), strict=False):
        learned = [token for token in row.labels if token >= 0]
        assert model.decode(learned) == f"{given['answer'].replace(chr(10), ' ')} <stop>"


def test_a_divergence_that_cannot_be_had_is_a_note(model: EchoModel) -> None:
    def divergence(rows: Sequence[TokenRow]) -> list[float]:
        del rows
        message = "full fine-tuning keeps no base"
        raise FrameworkError(message)

    model.divergence = divergence  # type: ignore[method-assign]
    result = ask(model, questions=1, instructions=1, texts=0)
    assert "general_divergence" not in result.measures
    assert result.notes == ["general_divergence: full fine-tuning keeps no base"]
    model.encode = lambda examples: [TokenRow([1], [-100]) for _ in examples]  # type: ignore[method-assign]
    assert ask(model, questions=0, instructions=1, texts=0).notes == [
        "general_divergence: the chat template leaves nothing of an answer"
    ]


def test_a_model_that_changes_is_seen(model: EchoModel) -> None:
    before = ask(model, questions=1, instructions=2, texts=1)
    assert before.measures["general_divergence"].value == 0
    row = suite.rows("instructions")[0]
    (known,) = model.encode([conversation(row)])
    model.rows.append(known.input_ids)
    after = ask(model, questions=1, instructions=2, texts=1)
    first, second = after.measures["general_divergence"].items
    assert first == pytest.approx(math.log(len(model.words) + 1))
    assert second == 0


def conversation(row: dict[str, str]) -> Example:
    return Example((Message("user", row["instruction"]), Message("assistant", row["answer"])), "chatml", "known")
