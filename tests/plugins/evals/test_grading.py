"""What a judge is asked, and which replies are a grade."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import Answered
from framework_plugins.evals.config import JudgeConfig
from framework_plugins.evals.grading import grading_prompt, needs_reference, parse_grade, problems
from tests.support.judge import asked_about

KNOWN = Answered("Capital of Peru?", "Lima", "It is Lima", 1, stopped=True)
OPEN = Answered("Say {answer}", "{reference} {0} {", None, 1, stopped=True)


def config(prompt: str | None = None, lowest: float = 1, highest: float = 10) -> JudgeConfig:
    return JudgeConfig("http://localhost/v1", "tiny", prompt, lowest, highest)


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("8", 8),
        (" 8.\n", 8),
        ("**7.5**", 7.5),
        ("Score: 6", 6),
        ("8/10", 8),
        ("8 / 10", 8),
        ("8 out of 10", 8),
        ("10/10", 10),
        ('{"score": 4}', 4),
        ("[[3]]", 3),
        ("It has 3 errors.\nScore: 6", 6),
        ("6, and once more: 6", 6),
        ("<think>9? No, 2.</think>\n4", 4),
        ("10", 10),
        ("1", 1),
    ],
)
def test_one_number_on_the_scale_is_a_grade(reply: str, number: float) -> None:
    assert parse_grade(reply, 1, 10) == number


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "good",
        "8 or 9",
        "11",
        "0",
        "-3",
        "1e1",
        "v2",
        "7,5",
        "1,000",
        "3.2.1",
        "80/100",
        "6\n7 or 8",
        "<think>8</think>",
        "NaN",
    ],
)
def test_everything_else_is_none(reply: str) -> None:
    assert parse_grade(reply, 1, 10) is None


@given(number=st.floats(-5, 5).map(lambda value: round(value, 2)), text=st.text(st.characters(categories=["L", "Zs"])))
def test_a_grade_is_found_within_words(number: float, text: str) -> None:
    assert parse_grade(f"{text} {number}", -5, 5) == number


@given(reply=st.text())
def test_whatever_is_said_a_grade_lies_on_the_scale(reply: str) -> None:
    found = parse_grade(reply, 1, 10)
    assert found is None or 1 <= found <= 10


def test_the_judge_sees_the_reference_where_there_is_one() -> None:
    text = grading_prompt(config(), KNOWN)
    assert text.index("Capital of Peru?") < text.index("It is Lima") < text.index("Lima\n\nHow correct")
    assert "from 1 to 10" in text
    assert asked_about(text) == "Lima"
    assert "Reference" not in grading_prompt(config(), OPEN)


def test_what_stands_in_an_answer_is_text() -> None:
    text = grading_prompt(config("{question} | {answer} | {reference} | {lowest}-{highest}", 0.5, 2), OPEN)
    assert text == "Say {answer} | {reference} {0} { |  | 0.5-2"


def test_braces_of_json_may_stand_in_a_prompt() -> None:
    prompt = 'Grade {answer}. Reply as {"score": 1}'
    assert list(problems(prompt)) == []
    assert grading_prompt(config(prompt), KNOWN) == 'Grade Lima. Reply as {"score": 1}'


def test_a_prompt_that_cannot_be_filled_in_is_reported() -> None:
    assert list(problems("Grade {anwser} for {question}")) == [
        "unknown placeholder 'anwser'. Did you mean 'answer'? Valid: answer, highest, lowest, question, reference.",
        "the judge would not see the answer: write {answer} where it belongs",
    ]


@pytest.mark.parametrize(("prompt", "needs"), [(None, False), ("{answer}", False), ("{answer} {reference}", True)])
def test_a_prompt_with_the_reference_needs_one(prompt: str | None, *, needs: bool) -> None:
    assert needs_reference(config(prompt)) is needs
