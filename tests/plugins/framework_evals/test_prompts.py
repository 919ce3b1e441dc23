"""The prompts evaluator asks the first prompts in their order and scores what can be scored."""

from collections.abc import Callable
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.data import Data
from framework.protocols import Metric
from framework.records import EvalResult, Message, Prompt
from framework_evals.config import ExactMatchConfig, JsonValidConfig, PromptsConfig
from framework_evals.metrics import ExactMatch, JsonValid
from framework_evals.prompts import Prompts
from tests.support.results import EVEN

METRICS: dict[str, Metric] = {"match": ExactMatch(ExactMatchConfig()), "json": JsonValid(JsonValidConfig())}
Evaluate = Callable[..., EvalResult]


def ask(text: str, reference: str | None = None) -> Prompt:
    return Prompt((Message("user", text),), reference)


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Return a function that evaluates a model which repeats the question."""
    model = testing.EchoModel(testing.plan([], run_dir=tmp_path))

    def run(prompts: list[Prompt], config: PromptsConfig, metrics: dict[str, Metric] = METRICS) -> EvalResult:
        data = Data([], [], prompts, EVEN)
        return Prompts(config).evaluate(model, data, metrics)

    return run


def test_answers_come_in_the_order_of_the_prompts_up_to_the_count(evaluate: Evaluate) -> None:
    result = evaluate([ask(str(number)) for number in range(9)], PromptsConfig(count=5, batch_size=2))
    assert [(sample.prompt, sample.answer) for sample in result.samples] == [(str(n), str(n)) for n in range(5)]


def test_without_prompts_nothing_is_asked(evaluate: Evaluate) -> None:
    assert evaluate([], PromptsConfig()) == EvalResult({}, [])


def test_the_mean_counts_only_answers_that_could_be_scored(evaluate: Evaluate) -> None:
    prompts = [ask("1", "1"), ask("x", "y"), ask("2"), ask("3", "3"), ask("z", "0")]
    result = evaluate(prompts, PromptsConfig())
    assert result.metrics == {"match": 0.5, "json": 0.6}
    assert [sample.scores for sample in result.samples][:3] == [
        {"match": 1.0, "json": 1.0},
        {"match": 0.0, "json": 0.0},
        {"json": 1.0},
    ]


def test_a_metric_that_could_score_nothing_is_left_out(evaluate: Evaluate) -> None:
    assert evaluate([ask("1")], PromptsConfig()).metrics == {"json": 1.0}
    assert evaluate([], PromptsConfig()) == EvalResult({}, [])
    assert evaluate([ask("1")], PromptsConfig(), {}).metrics == {}


def test_a_metric_that_fails_is_named_with_the_answer_and_the_line_of_its_code(evaluate: Evaluate) -> None:
    class Careless:
        higher_is_better = True
        needs_reference = False

        def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
            return 1 / (len(answer) - 1)

    with pytest.raises(FrameworkError) as caught:
        evaluate([ask("12"), ask("1")], PromptsConfig(), {"careless": Careless()})
    (line,) = str(caught.value).splitlines()
    assert line.startswith("metric 'careless' cannot score the answer '1': ZeroDivisionError: division by zero (")


def test_an_answer_that_is_cut_off_says_so(evaluate: Evaluate) -> None:
    (sample,) = evaluate([ask("one two three")], PromptsConfig(max_new_tokens=2)).samples
    assert (sample.answer, sample.stopped) == ("one two", False)


def test_a_dialogue_is_shown_with_its_roles(evaluate: Evaluate) -> None:
    dialogue = Prompt((Message("system", "be brief"), Message("user", "hi")))
    assert evaluate([dialogue], PromptsConfig()).samples[0].prompt == "system: be brief\nuser: hi"
