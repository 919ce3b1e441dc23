"""The general suite is asked in parts, each measure has an item for everything asked, and the figures are lm-eval's."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.data import Data
from framework.api.records import Aspect, EvalResult, Example, Message, Scored, TokenRow
from framework.testing import EchoModel
from framework_plugins.evals.config import ForgettingConfig
from framework_plugins.evals.forgetting import Forgetting, questions
from framework_plugins.evals.general import suite
from framework_plugins.evals.likelihood import Likelihood
from framework_plugins.hf.model import HFModel
from tests.support.results import EVEN
from tests.support.tiny import tiny_chatml, tiny_llama
from tests.support.training import with_adapter

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
        "general_accuracy": 0,
        "general_probability": 128,
        "general_answers": 64,
        "general_perplexity": 64,
        "general_divergence": 64,
    }
    assert {measure.aspect for measure in result.measures.values()} == {Aspect.general}
    up = [name for name, measure in result.measures.items() if measure.higher_is_better]
    assert up == ["general_accuracy", "general_probability"]
    assert (result.samples, result.notes) == ([], [])


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"questions": 2, "instructions": 3, "texts": 4}, [0, 16, 3, 4, 3]),
        ({"questions": 0, "instructions": 0, "texts": 1}, [1]),
        ({"questions": 1, "instructions": 0, "texts": 0}, [0, 8]),
        ({"questions": 0, "instructions": 2, "texts": 0}, [2, 2]),
        ({"questions": 0, "instructions": 0, "texts": 0}, []),
    ],
)
def test_a_part_can_be_made_smaller_or_left_out(model: EchoModel, settings: dict[str, int], sizes: list[int]) -> None:
    result = ask(model, **settings)
    assert [len(measure.items) for measure in result.measures.values()] == sizes
    assert tuple(result.measures) == ForgettingConfig(**settings).measures()


def test_the_perplexities_are_by_the_token(model: EchoModel) -> None:
    measure = ask(model, questions=0, instructions=0, texts=3).measures["general_perplexity"]
    assert measure.exponential
    assert measure.weights == [len(model.tokenize(row["text"])) for row in suite.rows("texts")[:3]]
    assert measure.value == pytest.approx(len(model.words) + 1)  # each token is one of those, all equally likely
    answers = ask(model, questions=0, instructions=64, texts=0).measures["general_answers"]
    assert 0.0 in answers.weights  # of the echo, an answer of one word is joined with the prompt
    assert [item is None for item in answers.items] == [not weight for weight in answers.weights]


def test_the_probability_is_that_of_the_right_choice_among_the_choices(model: EchoModel) -> None:
    rows: list[dict[str, Any]] = [{"text": "one", "choices": ["a", "b c", "d"], "answer": 1}]
    model.score = lambda rows: [Scored([math.log(0.1)] * row.supervised, [0]) for row in rows]  # type: ignore[method-assign]
    measures = questions(Likelihood(model), rows)
    assert measures["general_accuracy"].value == 0
    assert measures["general_probability"].items == pytest.approx([0.01 / 0.21])


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
        raise FrameworkError("full fine-tuning keeps no base")

    model.divergence = divergence  # type: ignore[method-assign]
    result = ask(model, questions=1, instructions=1, texts=0)
    assert "general_divergence" not in result.measures
    assert result.notes == ["general_divergence: full fine-tuning keeps no base"]
    model.encode = lambda examples: [TokenRow([1], [-100]) for _ in examples]  # type: ignore[method-assign]
    assert ask(model, questions=0, instructions=1, texts=0).notes == [
        "general_divergence: the chat template leaves no learned tokens"
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


@pytest.fixture(scope="module", params=[tiny_chatml, tiny_llama])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    """Open a tiny model with an adapter that changes it; one tokenizer begins each text with its BOS, one does not."""
    with with_adapter(tmp_path_factory.mktemp("base"), request.param) as model:
        yield model


def test_the_figures_are_those_of_lm_eval(tiny: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    compare_with_lm_eval(tiny, monkeypatch, questions=6, instructions=24, texts=24)


def compare_with_lm_eval(model: Any, monkeypatch: pytest.MonkeyPatch, **counts: int) -> None:
    """Ask lm-eval's own function, with its own wrapper around the same weights, the same parts of the suite."""
    theirs = by_lm_eval(model, monkeypatch, ["general"], limit=counts["questions"])
    spoken = by_lm_eval(
        model, monkeypatch, ["general_instructions"], limit=counts["instructions"], apply_chat_template=True
    )
    told = by_lm_eval(model, monkeypatch, ["general_texts"], limit=counts["texts"])
    ours = ask(model, **counts).measures
    accuracy = theirs["results"]["general"]["acc,none"]
    assert ours["general_accuracy"].value == pytest.approx(accuracy)
    # By the same log-likelihoods: lm-eval counts words, not tokens.
    for name, task, wanted in (
        ("general_answers", "general_instructions", spoken),
        ("general_perplexity", "general_texts", told),
    ):
        measure = ours[name]
        rows = [row["word_perplexity"] for row in wanted["samples"][task]]
        scores = [(item or 0.0) * weight for item, weight in zip(measure.items, measure.weights, strict=True)]
        assert scores == pytest.approx([-score for score, _ in rows], rel=1e-4)


def by_lm_eval(model: Any, monkeypatch: pytest.MonkeyPatch, names: list[str], **settings: Any) -> Any:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    theirs = HFLM(pretrained=model.model.eval(), tokenizer=model.tokenizer, batch_size=4)
    manager = TaskManager(include_path=str(Path(suite.__file__).parent), include_defaults=False)
    return simple_evaluate(theirs, tasks=names, task_manager=manager, bootstrap_iters=0, **settings)
