"""The prompts evaluator asks the same prompts each time, the user's own or the data's, and scores the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from framework import testing
from framework.api import records
from framework.api.data import Data
from framework.api.protocols import AnyMetric, Metric
from framework.api.records import EvalResult, Message, Prompt
from framework.api.selection import Selection
from framework.hooks.session import current
from framework.run import pipeline
from framework_plugins.evals.config import ExactMatchConfig, JsonValidConfig, PromptsConfig, StoppedConfig
from framework_plugins.evals.metrics.exact_match import ExactMatch
from framework_plugins.evals.metrics.json_valid import JsonValid
from framework_plugins.evals.metrics.stopped import Stopped
from framework_plugins.evals.prompts import NOTHING, Prompts
from tests.support.results import EVEN

METRICS: dict[str, AnyMetric] = {"match": ExactMatch(ExactMatchConfig()), "json": JsonValid(JsonValidConfig())}
Evaluate = Callable[..., EvalResult]


def ask(text: str, reference: str | None = None) -> Prompt:
    return Prompt((Message("user", text),), reference)


def alpaca(**settings: str) -> Selection:
    component = current().plugins.components("format")["alpaca"]
    return Selection(component, component.schema(**settings))


@pytest.fixture
def model(tmp_path: Path) -> testing.EchoModel:
    """Return a model that repeats the question."""
    return testing.EchoModel(testing.plan([], run_dir=tmp_path))


@pytest.fixture
def evaluate(model: testing.EchoModel) -> Evaluate:
    """Return a function that asks the data's prompts, or those of the config."""

    def run(
        prompts: list[Prompt],
        config: PromptsConfig,
        metrics: dict[str, AnyMetric] = METRICS,
        form: Selection | None = None,
    ) -> EvalResult:
        data = Data([], [], prompts, EVEN, form)
        return Prompts(config).evaluate(model, data, metrics)

    return run


def test_answers_come_in_the_order_of_the_prompts_up_to_the_count(evaluate: Evaluate) -> None:
    result = evaluate([ask(str(number)) for number in range(9)], PromptsConfig(count=5))
    assert [(sample.prompt, sample.answer) for sample in result.samples] == [(str(n), str(n)) for n in range(5)]


def test_without_prompts_nothing_is_asked_and_that_is_said(evaluate: Evaluate) -> None:
    assert evaluate([], PromptsConfig()) == EvalResult({}, [], [NOTHING])


def test_the_items_are_those_of_the_prompts_and_the_mean_counts_what_could_be_scored(evaluate: Evaluate) -> None:
    prompts = [ask("1", "1"), ask("x", "y"), ask("2"), ask("3", "3"), ask("z", "0")]
    result = evaluate(prompts, PromptsConfig())
    assert result.metrics == {"match": 0.5, "json": 0.6, "stopped": 1.0}
    assert result.measures["match"].items == [1.0, 0.0, None, 1.0, 0.0]
    assert [sample.scores for sample in result.samples][:3] == [
        {"match": 1.0, "json": 1.0, "stopped": 1.0},
        {"match": 0.0, "json": 0.0, "stopped": 1.0},
        {"json": 1.0, "stopped": 1.0},
    ]
    assert result.notes == ["1 of 5 prompts have no reference and are left out by match"]


def test_a_metric_that_could_score_nothing_is_left_out_and_named(evaluate: Evaluate) -> None:
    result = evaluate([ask("1")], PromptsConfig())
    assert result.metrics == {"json": 1.0, "stopped": 1.0}
    assert result.notes == ["metric 'match' needs references, but none of the prompts has one"]


def test_a_metric_that_fails_is_named_and_the_others_count(evaluate: Evaluate) -> None:
    class Careless(Metric):
        higher_is_better = True
        needs_reference = False

        def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
            return 1 / (len(answer) - 1)

    result = evaluate([ask("12", "12"), ask("1", "1")], PromptsConfig(), {"careless": Careless(), **METRICS})
    assert result.metrics == {"careless": 1.0, "match": 1.0, "json": 1.0, "stopped": 1.0}
    (note,) = result.notes
    assert note.startswith("metric 'careless' cannot score the answer '1': ZeroDivisionError: division by zero (")


def test_how_many_answers_end_by_themselves_is_measured_in_any_case(evaluate: Evaluate) -> None:
    asked = [ask("one two three"), ask("one")]
    result = evaluate(asked, PromptsConfig(max_new_tokens=2), {})
    assert result.measures["stopped"].items == [0.0, 1.0]
    assert [(sample.answer, sample.stopped, sample.tokens) for sample in result.samples] == [
        ("one two", False, 2),
        ("one", True, 1),
    ]
    again = evaluate(asked, PromptsConfig(max_new_tokens=2), {"stopped": Stopped(StoppedConfig())})
    assert again == result
    assert PromptsConfig().measures() == ("stopped",)


def test_a_dialogue_is_shown_with_its_roles(evaluate: Evaluate) -> None:
    dialogue = Prompt((Message("system", "be brief"), Message("user", "hi")))
    assert evaluate([dialogue], PromptsConfig()).samples[0].prompt == "system: be brief\nuser: hi"


def test_prompts_of_the_users_own_come_first_and_all_of_them_are_asked(evaluate: Evaluate, tmp_path: Path) -> None:
    file = tmp_path / "my.jsonl"
    rows = [{"prompt": f"say {number}", "reference": f"say {number}"} for number in range(4)] + [{"prompt": "say"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = evaluate([ask("not this")], PromptsConfig(file=str(file), count=2))
    assert [sample.prompt for sample in result.samples] == [row["prompt"] for row in rows]
    assert result.measures["match"].items == [1.0] * 4 + [None]
    inline = evaluate([ask("not this")], PromptsConfig(prompts=["say 1", {"instruction": "say 2"}], count=1))
    assert [sample.prompt for sample in inline.samples] == ["say 1", "say 2"]


def test_the_system_prompt_of_the_run_goes_before_them(evaluate: Evaluate) -> None:
    result = evaluate([], PromptsConfig(prompts=["hi"]), METRICS, alpaca(system_prompt="be brief"))
    assert result.samples[0].prompt == "system: be brief\nuser: hi"


def test_they_are_read_once_so_that_both_evaluations_ask_the_same(model: testing.EchoModel, tmp_path: Path) -> None:
    file = tmp_path / "my.txt"
    file.write_text("one\n", encoding="utf-8")
    evaluator, data = Prompts(PromptsConfig(file=str(file))), Data([], [], [], EVEN)
    first = evaluator.evaluate(model, data, METRICS)
    file.write_text("two\n", encoding="utf-8")
    assert evaluator.evaluate(model, data, METRICS) == first


def test_a_whole_run_on_prompts_of_ones_own(
    tmp_path: Path, rows: list[dict[str, str]], write_rows: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own = "evaluator.prompts.prompts=[{prompt: say 3, reference: it is 3}, say 4]"
    words = [
        "data=local_file",
        f"data.path={write_rows(rows)}",
        "data.validation_split=0",
        "objective=exact_match",
        own,
    ]
    plan = testing.plan([*words, "metric=[exact_match,json_valid]", "logger=[console,html]"], run_dir=tmp_path / "run")
    report = pipeline.run(plan)
    assert report is not None
    assert (report.objective.name, report.objective.value) == ("exact_match", 1.0)
    result = records.load(EvalResult, plan.run_dir / "evaluate.json")
    assert [(sample.prompt, sample.answer) for sample in result.samples] == [("say 3", "it is 3"), ("say 4", "it is 4")]
    shown = capsys.readouterr().out
    assert shown.count("warning: 1 of 2 prompts have no reference and are left out by exact_match") == 1
    page = (plan.run_dir / "report.html").read_text(encoding="utf-8")
    assert "it is 3" in page
