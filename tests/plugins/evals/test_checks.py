"""Errors in metrics and prompts are reported with the plan, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.records import Work
from framework.hooks.session import current
from framework.plan.forecast import Planner
from framework_plugins.evals import checks
from tests.support.shelf import Shelf

JUDGE = ["metric=[judge]", "metric.judge.base_url=http://localhost:1/v1", "metric.judge.model=tiny"]


def refused(words: Sequence[str], folder: Path) -> list[str]:
    with pytest.raises(FrameworkError) as caught:
        testing.plan(words, run_dir=folder / "run")
    return str(caught.value).splitlines()


def test_a_problem_with_a_quoted_value_names_its_key_once(tmp_path: Path) -> None:
    (line,) = refused(["metric=[regex]", "metric.regex.pattern='(a'"], tmp_path)
    assert line.startswith("metric.regex.pattern=(a: not a regular expression: missing )")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["metric=[regex]", "metric.regex.pattern='[a-'"],
            "metric.regex.pattern=[a-: not a regular expression: unterminated character set at position 0",
        ),
        (["metric=[regex]"], "metric.regex.pattern has no value"),
        (
            ["metric=[json_valid]", "metric.json_valid.schema={type: objekt}"],
            "metric.json_valid.schema=…: not a valid JSON Schema: at $.type: 'objekt' is not valid under any of",
        ),
        (
            ["metric=[json_valid]", "metric.json_valid.schema=no.json"],
            "metric.json_valid.schema=no.json: no.json cannot be read (No such file or directory)",
        ),
        (["metric=[judge]"], "metric.judge.base_url has no value"),
        (
            [*JUDGE, "metric.judge.base_url=localhost:1"],
            "metric.judge.base_url=localhost:1: this is not an address such as http://localhost:11434/v1",
        ),
        ([*JUDGE, "metric.judge.lowest=10"], "metric.judge.lowest=10 must be below highest=10"),
        (
            [*JUDGE, "metric.judge.prompt='Grade {anwser}, {answer}'"],
            "metric.judge.prompt=…: unknown placeholder 'anwser'. Did you mean 'answer'?",
        ),
        (
            [*JUDGE, "metric.judge.key_env=NO_SUCH_KEY"],
            "metric.judge.key_env=NO_SUCH_KEY: there is no such environment variable, or it is empty",
        ),
        (["evaluator.prompts.prompts=[3]"], "evaluator.prompts.prompts=[…]: prompts[0]: 3 is neither text nor a row"),
        (
            ["evaluator.prompts.prompts=[Hello]", "evaluator.prompts.format=chatlm"],
            "evaluator.prompts.prompts=[…]: unknown format option 'chatlm'. Did you mean 'chatml'?",
        ),
        (
            ["evaluator.prompts.file=no.jsonl"],
            "evaluator.prompts.file=no.jsonl: there is no data file no.jsonl.",
        ),
        (
            ["evaluator.prompts.file=no.jsonl", "evaluator.prompts.prompts=[Hello]"],
            "evaluator.prompts.file=no.jsonl: prompts are given in evaluator.prompts.prompts too; give one of the two",
        ),
        (
            ["evaluator.prompts.format=chatml"],
            "evaluator.prompts.format=chatml is for prompts of your own, and none are given: set",
        ),
        (
            ["evaluator.prompts.prompts=[Hello]", "objective=exact_match"],
            "objective=exact_match needs references, and none of the prompts in evaluator.prompts.prompts=[…] has one",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_it_is_reported_with_its_key_and_where_that_was_set(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = refused(words, tmp_path)
    assert any(problem in line for line in lines), lines
    assert not (tmp_path / "run").exists()


def test_all_problems_come_together(tmp_path: Path) -> None:
    words = ["metric=[regex,json_valid]", "metric.regex.pattern='('", "metric.json_valid.schema=no.json"]
    lines = refused([*words, "evaluator.prompts.prompts=[' ']"], tmp_path)
    assert [line.partition("=")[0] for line in lines] == [
        "metric.regex.pattern",
        "metric.json_valid.schema",
        "evaluator.prompts.prompts",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["metric.judge.key_env=sk-abcdefghijklmnopqrstuvwxyz"],
        ["metric.judge.key_env=abcdefghijklmnopqrstuvwxyz"],
        ["metric.judge.base_url=http://me:abcdefghijklmnopqrstuvwxyz@localhost/v1"],
    ],
)
def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(words: list[str], tmp_path: Path) -> None:
    lines = refused([*JUDGE, *words], tmp_path)
    assert lines[0].startswith((f"{words[0].partition('=')[0]} must be", f"{words[0].partition('=')[0]}: a name or"))
    assert not any("abcdefghijklmnopqrstuvwxyz" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "fine"), [("secret", True), ("", False), (" \n", False), ("se\ncret", False), ("ß", False)]
)
def test_a_key_has_to_fit_into_a_request(
    key: str, *, fine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    words = [*JUDGE, "metric.judge.key_env=JUDGE_KEY"]
    if fine:
        assert testing.plan(words, run_dir=tmp_path)
    else:
        lines = refused(words, tmp_path)
        assert not any(key in line for line in lines if key.strip())


def test_an_empty_file_of_prompts_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.jsonl").write_text("\n", encoding="utf-8")
    (first,) = refused(["evaluator.prompts.file=my.jsonl"], tmp_path)
    assert first == "evaluator.prompts.file=my.jsonl: there is no prompt in the file: it is empty"


def plan(folder: Path, *words: str) -> Plan:
    return testing.plan(words, run_dir=folder / "run")


def test_metrics_with_nothing_to_compare_with_are_reported_as_advice(tmp_path: Path) -> None:
    own = "evaluator.prompts.prompts=[Hello, Good morning]"
    told = (
        "evaluator.prompts: none of the 2 prompts has a reference, so exact_match, token_f1 will score nothing. "
        "Add references to the prompts, or choose among json_valid, regex, length, stopped and judge"
    )
    every = plan(tmp_path, own, "metric=[exact_match,token_f1,json_valid]")
    assert told in Planner(every, Shelf({}), current()).advice(None)
    assert not list(checks.advice(plan(tmp_path, own, "metric=[json_valid]"), None))
    assert not list(checks.advice(plan(tmp_path, "evaluator.prompts.prompts=[{prompt: a, reference: b}]"), None))
    judge = [*JUDGE, "metric.judge.prompt='{answer} {reference}'"]
    assert "so judge will score nothing" in next(checks.advice(plan(tmp_path, own, *judge), None))


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["evaluator.prompts.count=200"], "evaluator.prompts.count=200: up to 51,200 tokens are generated, and 3,000"),
        (["evaluator.prompts.count=10"], ""),
        (["evaluator.prompts.count=201"], ""),
        (["evaluator.prompts.prompts=[{prompt: a, reference: b}]"], ""),
        (
            [f"evaluator.prompts.prompts=[{', '.join(f'{{prompt: a{n}, reference: b}}' for n in range(20))}]"],
            "evaluator.prompts asks 20 prompts: up to 5,120 tokens are generated, and 3,000 are trained on. Give 10 of",
        ),
        (["evaluator.prompts.count=200", "stages=[evaluate]"], ""),
    ],
)
def test_answers_that_are_more_tokens_than_the_training_are_reported(
    words: list[str], advice: str, tmp_path: Path
) -> None:
    work = Work(
        rows=200,
        tokens=1000,
        supervised_tokens=500,
        steps=1,
        epochs=3.0,
        flops=1.0,
        seconds_low=None,
        seconds_high=None,
    )
    told = list(checks.advice(plan(tmp_path, *words), work))
    assert [line[: len(advice)] for line in told] == ([advice] if advice else [])
