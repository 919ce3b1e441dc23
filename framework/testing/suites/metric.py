"""The suite of `metric=`, for metrics that score one answer and for those that see all answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from framework.api import records, scoring
from framework.api.protocols import AnswerMetric, AnyMetric
from framework.api.records import Answered, EvalResult, Report
from framework.run import pipeline
from framework.testing.suites.base import Suite, expect

ANSWERS = ("", " ", "\n\n", "Lima", "日本語 🎉 ñ", "{}", "[1, 2", "\x00\ufeff", "word " * 20_000, "x" * 100_000)
"""What models say: nothing, other scripts, half a JSON, far too much."""
SURE = (-0.1, -0.5)
"""Log-probabilities of the tokens of a reference."""


class MetricSuite(Suite):
    """What every metric has to do.

    Attributes:
        answers: (answer, reference, expected score). The reference may be None if the metric needs none.
        answered: (answer with all its facts, expected score), for a metric that uses more than the text;
            the score may be None. Together with `answers` at least one.
        tolerance: how far a score may lie from the expected one.
    """

    group = "metric"
    answers: ClassVar[Sequence[tuple[str, str | None, float]]] = ()
    answered: ClassVar[Sequence[tuple[Answered, float | None]]] = ()
    tolerance: ClassVar[float] = 1e-6

    def scores(self, metric: AnyMetric, answers: Sequence[Answered]) -> list[float | None]:
        """Score answers by a metric of either kind; what it raises ends the test."""
        if not isinstance(metric, AnswerMetric):
            return [metric.score(answered.answer, answered.reference) for answered in answers]
        result = metric.score_all(answers)
        for name, values in (("scores", result.items), ("weights", result.weights or result.items)):
            expect(len(values) == len(answers), f"{len(answers)} answers have {len(values)} {name}")
        return list(result.items)

    def test_it_says_whether_higher_is_better_and_whether_it_needs_a_reference(self, tmp_path: Path) -> None:
        """The attributes are there and bools: the report and the choice of prompts depend on them."""
        metric = self.create(tmp_path)
        attributes = ("needs_log_probs", "exponential") if isinstance(metric, AnswerMetric) else ()
        for name in ("higher_is_better", "needs_reference", *attributes):
            value = getattr(metric, name, None)
            expect(isinstance(value, bool), f"{name} has to be True or False, it is {value!r}")

    def test_every_answer_has_a_finite_score(self, tmp_path: Path) -> None:
        """Empty, long and foreign answers and references are scored by a finite number.

        A metric that sees all answers may leave one without a score.
        """
        metric: AnyMetric = self.create(tmp_path)
        references = ["", *ANSWERS, *reversed(ANSWERS)] if metric.needs_reference else [None]
        answers = [
            _answered(answer, reference) for reference in references[: len(ANSWERS) + 1] for answer in ANSWERS[:8]
        ]
        answers += [_answered(answer, "Lima" if metric.needs_reference else None) for answer in ANSWERS]
        for answered, score in zip(answers, self.scores(metric, answers), strict=True):
            if score is not None or not isinstance(metric, AnswerMetric):
                _check(score, answered)

    def test_a_reference_it_does_not_need_changes_nothing(self, tmp_path: Path) -> None:
        """Where `needs_reference` is False, a metric of texts gives one score with and without a reference."""
        metric: AnyMetric = self.create(tmp_path)
        if not metric.needs_reference and not isinstance(metric, AnswerMetric):
            for answer in (*ANSWERS[:8], *(example for example, _, _ in self.answers)):
                scores = [metric.score(answer, reference) for reference in (None, "", "Lima")]
                expect(len(set(scores)) == 1, f"needs_reference is False, yet {answer!r} scores {scores}")

    def test_the_same_answer_has_the_same_score(self, tmp_path: Path) -> None:
        """Twice, in another order, and again by a second instance."""
        first_metric, second_metric = (self.create(tmp_path) for _ in range(2))
        answers = [*(example for example, _ in self._expected()), _answered("Lima", "lima")]
        scores = self.scores(first_metric, answers)
        for metric in (first_metric, second_metric):
            again = self.scores(metric, answers[::-1])[::-1]
            for answer, score, new_score in zip(answers, scores, again, strict=True):
                alike = score == new_score
                expect(alike, f"{answer.answer!r} against {answer.reference!r} scores {score} and {new_score}")

    def test_the_scores_are_those_that_are_expected(self, tmp_path: Path) -> None:
        """Each of `answers` and `answered` has its score."""
        expected = self._expected()
        expect(expected, f"{type(self).__name__}.answers is empty: give (answer, reference, expected score)")
        scores = self.scores(self.create(tmp_path), [example for example, _ in expected])
        for (example, target), score in zip(expected, scores, strict=True):
            near = score is not None and target is not None and math.isclose(score, target, abs_tol=self.tolerance)
            right = near or (score is None and target is None)
            expect(right, f"{example.answer!r} against {example.reference!r} scores {score}, expected {target}")

    def _expected(self) -> list[tuple[Answered, float | None]]:
        plain: list[tuple[Answered, float | None]] = [
            (_answered(answer, reference), expected) for answer, reference, expected in self.answers
        ]
        return [*plain, *self.answered]

    def test_it_arrives_in_the_report_before_and_after(self, tmp_path: Path) -> None:
        """A whole run reports it, in the right direction, as the mean of what `evaluate.json` holds for each prompt."""
        plan = self.plan(tmp_path)
        pipeline.run(plan)
        change = records.load(Report, plan.run_dir / "report.json").metrics.get(self.option)
        if change is None or change.before is None or change.after is None:
            raise AssertionError(f"report.json has no '{self.option}' before and after: {change}")
        metric: AnyMetric = self.create(tmp_path)
        up = metric.higher_is_better
        expect(change.higher_is_better is up, f"higher_is_better is {up}, the report says {change.higher_is_better}")
        for stage, mean in (("baseline", change.before), ("evaluate", change.after)):
            result = records.load(EvalResult, plan.run_dir / f"{stage}.json")
            measured = result.measures[self.option]
            scores = [sample.scores.get(self.option) for sample in result.samples]
            expect(any(score is not None for score in scores), f"{stage}: no sample has a score")
            item_mean = scoring.mean(measured.items, measured.weights, exponential=measured.exponential)
            expect(
                math.isclose(item_mean, mean, abs_tol=1e-9), f"{stage}: the mean is {mean}, the items give {item_mean}"
            )


def _answered(answer: str, reference: str | None) -> Answered:
    """Return an answer with the facts that a run would have."""
    log_probs = SURE if reference is not None else None
    return Answered("Say it", answer, reference, len(answer.split()), stopped=True, reference_log_probs=log_probs)


def _check(score: object, answered: Answered) -> None:
    """Refuse what is not a finite number; True would be written as a word."""
    right = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    subject = f"{answered.answer[:40]!r} against {answered.reference!r}"
    expect(right, f"{subject} scores {score!r}, no finite number")
