"""replace_api/evaluator.py, decision.py, command.py: a run over logs, its page, and the decision made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError
from framework.api.program import run_plan
from framework.testing import echo
from framework_plugins.replace_api.command import ReplaceApiCommand
from framework_plugins.replace_api.config import ReplaceApiCommandConfig
from framework_plugins.replace_api.decision import FILE, PAGE, Decision, headline, lines, read_decision, table
from framework_plugins.replace_api.verdict import Name

EVALUATOR = "evaluator.replace_api"


def logs(folder: Path, *, calls: int = 160, wrong: int = 0) -> Path:
    """Write logs of an API that repeats what it is asked, as the echo model does, except for some of the newest."""
    lines_of_file = []
    for number in range(calls):
        asked = f"repeat number {number} {'and a tail that is long ' * (number % 3)}".strip()
        answer = asked if number < calls - wrong else f"other {number}"
        lines_of_file.append({
            "timestamp": 1790000000 + 60 * number, "latency": 1.5, "session_id": f"talk {number}",
            "request": {"model": "big-1", "messages": [{"role": "user", "content": asked}]},
            "response": {
                "model": "big-1", "usage": {"prompt_tokens": 100, "completion_tokens": 50},
                "choices": [{"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
            },
        })  # fmt: skip
    file = folder / "logs.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines_of_file), encoding="utf-8")
    return file


def run(folder: Path, file: Path, *overrides: str) -> Decision:
    words = [
        "data=api_logs", f"data.path={file}", "evaluator=[replace_api]", "metric=[exact_match]", "audit=[]",
        "format.cluster=conversation", "exporter=[]", "trainer.max_steps=1", *overrides,
    ]  # fmt: skip
    run_plan(echo.plan(words, run_dir=folder / "run"))
    return read_decision(folder / "run")


def command(*words: str) -> int:
    return ReplaceApiCommand(ReplaceApiCommandConfig()).main(words)


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run whose model answers as the API does."""
    folder = tmp_path_factory.mktemp("equal")
    prices = f"{EVALUATOR}.input_price=1", f"{EVALUATOR}.output_price=2", "plan.price_per_hour=0.5"
    run(folder, logs(folder, calls=300), "verdict.margin=0.07", *prices)
    return folder / "run"


def test_a_model_that_answers_alike_is_not_worse(equal: Path) -> None:
    decision = read_decision(equal)
    assert decision.metric == "exact_match"
    assert decision.verdict.name is Name.not_worse
    assert decision.verdict.requests == 60
    assert headline(decision) == "Yes: the model is not worse than the API by more than 7 points (95% confidence)."
    assert decision.bill.api == pytest.approx(0.2)
    assert decision.usage.median == 1.5
    assert {request.slices["tool"] for request in decision.requests} == {"no call"}


def test_the_page_has_the_headline_the_table_and_no_script(equal: Path) -> None:
    page = (equal / PAGE).read_text(encoding="utf-8")
    assert "Yes: the model is not worse" in page
    assert "cost of a thousand requests" in page
    assert "No answer of the model is worse" in page
    assert "300 logged calls made 300 different requests" in page
    assert "<script" not in page


def test_the_command_makes_the_decision_again_with_other_prices(
    equal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(str(equal), "--input-price", "10", "--output-price", "20", "--gate") == 0
    assert read_decision(equal).bill.api == pytest.approx(2.0)
    assert "a thousand requests: API 2," in capsys.readouterr().out
    assert command(str(equal), "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["name"] == "not_worse"


def test_the_gate_is_closed_where_the_margin_is_not_shown(equal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(equal), "--margin", "0.001", "--gate", "--before", str(equal)) == 3
    assert "Not yet: a loss of more than 0.1 points is neither shown nor ruled out" in (text := capsys.readouterr().out)
    assert "before: cannot tell, exact_match 100.0% of 60 requests; now: cannot tell" in text
    command(str(equal), "--margin", "0.07")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--margin", "5"], r"--margin 5: give a share"),
        (["--input-price", "-1"], r"--input-price -1: a price is not negative"),
        (["--max-error", "0"], r"--max-error 0: no number of answers"),
        (["--confidence", "0.3"], r"--confidence 0\.3: give at least 0\.5"),
    ],
)
def test_terms_without_sense_are_refused_and_nothing_is_written(equal: Path, words: list[str], message: str) -> None:
    written = (equal / FILE).read_bytes()
    with pytest.raises(FrameworkError, match=message):
        command(str(equal), *words)
    assert (equal / FILE).read_bytes() == written


def test_a_worse_model_is_shown_with_its_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decision = run(tmp_path, logs(tmp_path, wrong=12), "verdict.margin=0.05")
    assert decision.verdict.name is Name.worse
    assert headline(decision).startswith("No: the model is worse than the API by more than 5 points")
    assert "No: the model is worse" in capsys.readouterr().out
    page = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
    assert page.count('class="pair"') == 10
    assert "other 159" in page
    assert any("price is not known" in line for line in decision.bill.assumptions)
    assert table(decision)[0][0] == "exact_match"
    assert any("the model is worse by" in line for line in lines(decision))


def test_the_evaluator_without_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"evaluator=replace_api compares with logged answers, and data=orders"):
        echo.plan(["evaluator=[replace_api]"], run_dir=tmp_path)


def test_a_run_without_a_decision_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"holds no replace_api\.json: a run with evaluator=\[replace_api\]"):
        read_decision(tmp_path)


class JudgeThatLikesTheLonger:
    """A judge for tests: the longer answer wins."""

    higher_is_better, needs_reference, unit, kind, compares = True, True, "", None, True

    def score(self, answer: str, reference: str | None) -> float:
        return float(answer == reference)

    def compare(self, before: Any, after: Any) -> Any:
        from framework.api import Scores

        sizes = [(len(left.answer), len(right.answer)) for left, right in zip(before, after, strict=True)]
        return Scores([0.5 if left == right else float(left < right) for left, right in sizes])


def test_the_error_of_a_judge_is_measured() -> None:
    from framework.api import Answered
    from framework_plugins.replace_api.evaluator import _judge_error

    answers = [Answered("q", "", "x" * (number % 2 + 1), 0, stopped=True) for number in range(10)]
    note = _judge_error("judge", JudgeThatLikesTheLonger(), answers)  # type: ignore[arg-type]
    assert note.startswith("metric 'judge' is wrong about 50% of 10 pairs")
