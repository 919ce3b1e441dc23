"""The suite of `metric=`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from framework import pipeline, records
from framework.protocols import Metric
from framework.records import EvalResult, Report
from framework.testing.suites.base import Suite, expect

ANSWERS = ("", " ", "\n\n", "Lima", "日本語 🎉 ñ", "{}", "[1, 2", "\x00\ufeff", "word " * 20_000, "x" * 100_000)
"""What models say: nothing, other scripts, half a JSON, far too much."""


class MetricSuite(Suite):
    """What every metric has to do.

    Attributes:
        answers: (answer, reference, expected score); at least one. The reference may be None where the metric needs
            none.
        tolerance: how far a score may lie from the expected one.
    """

    group = "metric"
    answers: ClassVar[Sequence[tuple[str, str | None, float]]] = ()
    tolerance: ClassVar[float] = 1e-6

    def test_it_says_which_way_is_up_and_whether_it_needs_a_reference(self, tmp_path: Path) -> None:
        """Both attributes are there and bools: the report and the choice of prompts depend on them."""
        metric = self.create(tmp_path)
        for name in ("higher_is_better", "needs_reference"):
            value = getattr(metric, name, None)
            expect(isinstance(value, bool), f"{name} has to be True or False, it is {value!r}")

    def test_every_answer_has_a_finite_score(self, tmp_path: Path) -> None:
        """Empty, long and foreign answers and references are scored by a finite number."""
        metric: Metric = self.create(tmp_path)
        references = ["", *ANSWERS, *reversed(ANSWERS)] if metric.needs_reference else [None]
        for reference in references[: len(ANSWERS) + 1]:
            for answer in ANSWERS[:8]:
                _check(metric.score(answer, reference), answer, reference)
        for answer in ANSWERS:
            _check(metric.score(answer, "Lima" if metric.needs_reference else None), answer, "Lima")

    def test_a_reference_it_does_not_need_changes_nothing(self, tmp_path: Path) -> None:
        """Where `needs_reference` is False, an answer has one score with and without a reference."""
        metric: Metric = self.create(tmp_path)
        if not metric.needs_reference:
            for answer in (*ANSWERS[:8], *(given for given, _, _ in self.answers)):
                scores = [metric.score(answer, reference) for reference in (None, "", "Lima")]
                expect(len(set(scores)) == 1, f"needs_reference is False, yet {answer!r} scores {scores}")

    def test_the_same_answer_has_the_same_score(self, tmp_path: Path) -> None:
        """Twice, and again by a second instance."""
        one, two = (self.create(tmp_path) for _ in range(2))
        for answer, reference in [*((answer, reference) for answer, reference, _ in self.answers), ("Lima", "lima")]:
            scores = [metric.score(answer, reference) for metric in (one, one, two)]
            expect(len(set(scores)) == 1, f"{answer!r} against {reference!r} scores {scores}")

    def test_the_scores_are_those_that_are_expected(self, tmp_path: Path) -> None:
        """Each of `answers` has its score."""
        expect(self.answers, f"{type(self).__name__}.answers is empty: give (answer, reference, expected score)")
        metric: Metric = self.create(tmp_path)
        for answer, reference, expected in self.answers:
            score = metric.score(answer, reference)
            right = math.isclose(score, expected, abs_tol=self.tolerance)
            expect(right, f"{answer!r} against {reference!r} scores {score}, expected {expected}")

    def test_it_arrives_in_the_report_before_and_after(self, tmp_path: Path) -> None:
        """A whole run reports it, in the right direction, as the mean of what `evaluate.json` holds for each prompt."""
        plan = self.plan(tmp_path)
        pipeline.run(plan)
        change = records.load(Report, plan.run_dir / "report.json").metrics.get(self.option)
        if change is None or change.before is None or change.after is None:
            message = f"report.json has no '{self.option}' before and after: {change}"
            raise AssertionError(message)
        up = self.create(tmp_path).higher_is_better
        expect(change.higher_is_better is up, f"higher_is_better is {up}, the report says {change.higher_is_better}")
        for stage, mean in (("baseline", change.before), ("evaluate", change.after)):
            samples = records.load(EvalResult, plan.run_dir / f"{stage}.json").samples
            scores = [sample.scores[self.option] for sample in samples if self.option in sample.scores]
            right = bool(scores) and math.isclose(sum(scores) / len(scores), mean, abs_tol=1e-9)
            expect(right, f"{stage}: the mean is {mean}, the samples have {scores}")


def _check(score: object, answer: str, reference: str | None) -> None:
    """Refuse what is no finite number; True would be written as a word."""
    right = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    expect(right, f"{answer[:40]!r} against {reference!r} scores {score!r}, no finite number")
