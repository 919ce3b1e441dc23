"""If a few prompts decide nothing, more are asked by reading their references, and generating what that leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from framework import testing
from framework.api.data import Data
from framework.api.protocols import AnyMetric
from framework.api.records import (
    IGNORE,
    Answer,
    Change,
    EvalResult,
    Example,
    Measure,
    Message,
    Outcome,
    Prompt,
    Results,
    Scored,
    TokenRow,
)
from framework.testing import EchoModel
from framework_plugins.evals.config import ExactMatchConfig, LengthConfig, PromptsConfig
from framework_plugins.evals.metrics.exact_match import ExactMatch
from framework_plugins.evals.metrics.length import Length
from framework_plugins.evals.prompts import Prompts
from framework_plugins.evals.read_answers import read_answers
from tests.support.results import EVEN

MATCH = ExactMatch(ExactMatchConfig())
METRICS: dict[str, AnyMetric] = {"match": MATCH, "length": Length(LengthConfig())}
STOP, OTHER_C = 0, 300


class Letters(EchoModel):
    """A model with a token for each letter, and another one for c; it continues each prompt with what `says` has."""

    def __init__(self, folder: Path, says: dict[str, str], *, reads: bool = True) -> None:
        super().__init__(testing.plan([], run_dir=folder))
        self.says = says
        self.reads = reads
        self.generated: list[str] = []

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        self.prompts = [example.messages[0].content for example in examples]
        answers = [[*map(ord, example.messages[-1].content), STOP] for example in examples]
        return [TokenRow([1, *ids], [IGNORE, *ids]) for ids in answers]

    def score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        said = [[*map(ord, self.says[prompt] if self.reads else "y"), STOP] for prompt in self.prompts]
        return [
            Scored([], [OTHER_C if token == ord("C") else token for token in [*ids, *[STOP] * row.supervised]])
            for ids, row in zip(said, rows, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("c" if token == OTHER_C else chr(token) for token in ids)

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int, batch_size: int) -> list[Answer]:
        del batch_size
        asked = [prompt.messages[0].content for prompt in prompts]
        self.generated += asked
        answers = [self.says[prompt].replace("C", "c")[:max_new_tokens] for prompt in asked]
        return [Answer(text, len(text), stopped=True) for text in answers]


def ask(text: str, reference: str | None) -> Prompt:
    return Prompt((Message("user", text),), reference)


@pytest.mark.parametrize(
    ("says", "read"),
    [
        ("abc", "abc"),
        ("abx and more", "abx"),
        ("ab", "ab"),  # it ends there
        ("abcdef", "abcd"),
        ("abC", None),  # the same text with other tokens
        (" abc", None),  # the metric takes off white space
        ("", ""),
    ],
)
def test_an_answer_is_read_up_to_where_it_leaves_the_reference(tmp_path: Path, says: str, read: str | None) -> None:
    model = Letters(tmp_path, {"q": says})
    assert read_answers(model, [ask("q", "abc")], MATCH, 9) == [read]
    assert read_answers(model, [ask("q", None)], MATCH, 9) == [None]


def test_an_answer_is_cut_where_a_generated_one_would_be(tmp_path: Path) -> None:
    assert read_answers(Letters(tmp_path, {"q": "abc"}), [ask("q", "abc")], MATCH, 2) == ["ab"]


def asked(count: int) -> tuple[Data, dict[str, str]]:
    """Return prompts with a reference each, but one, and what a model says: every third is right."""
    names = [f"{number:b}".replace("0", "xylo ").replace("1", "wugs ") for number in range(count)]
    prompts = [ask(name, None if number == 100 else f"abc{number}") for number, name in enumerate(names)]
    wrong = ("abC?", "ab", "x")
    said = {name: wrong[number % 3] if number % 3 else f"abc{number}" for number, name in enumerate(names)}
    return Data([], [], prompts, replace(EVEN, decides="match")), said


@pytest.mark.parametrize("reads", [True, False])
def test_each_look_asks_more_and_generates_only_what_cannot_be_read(tmp_path: Path, *, reads: bool) -> None:
    data, said = asked(300)
    model, evaluator = Letters(tmp_path, said, reads=reads), Prompts(PromptsConfig())
    assert evaluator.looks(model, data, METRICS) == 4
    seen = evaluator.evaluate(model, data, METRICS)
    first, generated = seen, [len(model.generated)]
    for number in (2, 3, 4):
        seen = evaluator.look(number, model, data, METRICS, seen)
        generated.append(len(model.generated))
    match, length = seen.measures["match"], seen.measures["length"]
    assert match.items == [None if number == 100 else float(number % 3 == 0) for number in range(300)]
    assert [weight for weight in match.weights if not weight] == [0]
    assert (match.look_share, match.kind) == (300 / 500, first.measures["match"].kind)
    assert all(one.early for one in first.measures.values())
    assert not match.early
    assert not length.early
    assert (len(length.items), length.look_share, len(seen.samples)) == (60, 60 / 80, 60)
    # A pass that contradicts what was generated is not believed. One prompt has no reference.
    assert generated == ([20, 60, 60, 60] if reads else [20, 60, 119, 299])
    whole = evaluator.look(4, model, data, METRICS)
    assert whole.samples == seen.samples
    assert replace(whole.measures["match"], answers=match.answers) == match


def test_a_base_that_was_asked_more_before_is_asked_nothing(tmp_path: Path) -> None:
    data, said = asked(300)
    model = Letters(tmp_path, said)
    more = Prompts(PromptsConfig()).look(2, model, data, METRICS)
    model.generated = []
    few = Prompts(PromptsConfig(count=4, first=2))
    assert all(few.look(number, model, data, METRICS, more) is more for number in range(1, 4))
    assert model.generated == []


def test_a_look_that_reads_knows_content_and_constant_answers(tmp_path: Path) -> None:
    data, said = asked(240)
    prompts = [replace(one, reference="yes" if number % 4 else "no") for number, one in enumerate(data.prompts)]
    evaluator, data = Prompts(PromptsConfig()), replace(data, prompts=prompts)
    seen = evaluator.look(4, Letters(tmp_path, dict.fromkeys(said, "Yes.")), data, METRICS)
    match = seen.measures["match"]
    assert (match.value, match.content, match.answers) == (0, [float(number % 4 > 0) for number in range(240)], 1)
    assert (match.constant, match.constant_items) == ("yes", match.content)


def test_a_model_that_answers_in_sentences_is_asked_for_whole_answers(tmp_path: Path) -> None:
    data, said = asked(240)
    sentences = {name: f"It is {one.reference}." for name, one in zip(said, data.prompts, strict=True)}
    model, evaluator = Letters(tmp_path, sentences), Prompts(PromptsConfig())
    match = evaluator.look(4, model, data, METRICS).measures["match"]
    assert (match.value, len(model.generated)) == (0, 239)  # one has no reference
    assert match.content == [None if number == 100 else 1.0 for number in range(240)]


@pytest.mark.parametrize(
    ("config", "metrics", "looks"),
    [
        (PromptsConfig(), METRICS, 4),
        (PromptsConfig(first=60), METRICS, 3),
        (PromptsConfig(count=200), METRICS, 3),
        (PromptsConfig(count=30, most=30), METRICS, 1),
        (PromptsConfig(most=120), METRICS, 3),
        (PromptsConfig(), {"match": METRICS["length"]}, 2),  # which cannot be read
        (PromptsConfig(), {"length": METRICS["length"]}, 1),
        (PromptsConfig(prompts=["one"]), METRICS, 1),
    ],
)
def test_there_are_more_looks_where_they_can_decide(
    tmp_path: Path, config: PromptsConfig, metrics: dict[str, AnyMetric], looks: int
) -> None:
    data, said = asked(300)
    assert Prompts(config).looks(Letters(tmp_path, said), data, metrics) == looks


def test_trials_of_a_sweep_are_asked_as_many_prompts(tmp_path: Path) -> None:
    data, said = asked(60)
    model, evaluator = Letters(tmp_path, said), Prompts(PromptsConfig())
    for trial in (True, False):
        result = evaluator.evaluate(model, replace(data, trial=trial), METRICS)
        assert len(result.samples) == (60 if trial else 20)


@pytest.mark.parametrize(
    ("outcome", "share", "decided"),
    [
        (Outcome.better, 0.3, True),
        (Outcome.worse, 0.3, True),
        (Outcome.no_worse, 0.3, False),
        (Outcome.unknown, 1, True),
    ],
)
def test_it_is_decided_by_a_difference_or_where_more_prompts_do_not_help(
    outcome: Outcome,
    share: float,
    decided: bool,  # noqa: FBT001 - a column of the table
) -> None:
    change = Change(0, 1, higher_is_better=True, outcome=outcome, primary=True)
    after = EvalResult({"match": Measure(1, [1.0] * 20, look_share=share)})
    evaluator = Prompts(PromptsConfig())
    assert evaluator.decided(Results(EvalResult({}), after, None, {"match": change}), 0.95) is decided
    assert evaluator.decided(Results(None, after, None, {"match": change}), 0.95) is (share == 1)
    assert Prompts(PromptsConfig(count=20)).decided(Results(None, after, None, {"match": change}), 0.95)
    assert evaluator.decided(Results(EvalResult({}), EvalResult({})), 0.95)
