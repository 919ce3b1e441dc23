"""Answers that never stop: counted, compared with the base, and told in the words of all issues."""

from __future__ import annotations

import pytest

from framework.api.records import EvalResult, Measure, Sample, TrainingIssue
from framework.api.schema import Action
from framework.monitor.truncated_answers import count_truncated, truncation_issues

DONE = Sample("ask", "short", "short", stopped=True, scores={})
ENDLESS = Sample("ask", "on and on and on", "short", stopped=False, scores={})
OPEN = Sample("ask", "on and on", None, stopped=False, scores={})
LONG = Sample("ask", "the beginning of", "the beginning of something long", stopped=False, scores={})


def test_an_answer_is_endless_where_it_is_longer_than_it_should_be() -> None:
    assert count_truncated([DONE, LONG]) == 0  # the limit is too low for it, that is all
    assert count_truncated([ENDLESS, OPEN, DONE]) == 2


def test_it_is_reported_with_the_share_of_the_base() -> None:
    after, before = EvalResult({}, [ENDLESS, ENDLESS, *[DONE] * 8]), EvalResult({}, [DONE] * 10)
    (issue,) = truncation_issues(Action.warn, after, before, 40)
    assert (issue.kind, issue.step, issue.action) == ("truncated_answers", 40, Action.warn)
    assert issue.text == "2 of 10 answers did not end by themselves, and 0 of 10 of the base model"
    assert issue.recommendation.startswith("The base model ends more of its answers, so more steps can make it worse")
    (alone,) = truncation_issues(Action.warn, after, None, 40)
    assert alone.text == "2 of 10 answers did not end by themselves"
    assert alone.recommendation.startswith("The model does not end its answers reliably: train for more steps")


def test_more_steps_are_not_recommended_if_the_validation_loss_rose_or_something_else_went_wrong() -> None:
    after, before = EvalResult({"eval_loss": Measure(15.4)}, [ENDLESS] * 9), EvalResult({"eval_loss": Measure(0.62)})
    (issue,) = truncation_issues(Action.warn, after, before, 6)
    assert issue.text.endswith("; the validation loss went from 0.62 to 15.4")
    assert issue.recommendation.startswith("More steps would make it worse: lower trainer.learning_rate")
    (while_training,) = truncation_issues(Action.warn, EvalResult({}, [ENDLESS] * 9), before, 6, eval_loss=15.4)
    assert while_training == issue
    rising = TrainingIssue("rising_loss", 3, "", "", Action.warn)
    (after_a_rise,) = truncation_issues(Action.warn, EvalResult({}, [ENDLESS] * 9), None, 6, [rising])
    assert after_a_rise.recommendation.startswith("First follow the advice about rising_loss: more steps with")


@pytest.mark.parametrize(
    "samples", [[], [ENDLESS], [ENDLESS, *[DONE] * 3], [ENDLESS, ENDLESS, *[DONE] * 9], [LONG] * 9]
)
def test_a_few_that_do_not_end_are_no_trouble(samples: list[Sample]) -> None:
    assert truncation_issues(Action.warn, EvalResult({}, samples), None, 40) == []


def test_it_can_be_left_out() -> None:
    assert truncation_issues(Action.ignore, EvalResult({}, [ENDLESS] * 9), None, 40) == []
