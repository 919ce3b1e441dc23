"""framework/evaluate/verdict/judge.py: gained, forgot, copied."""

from __future__ import annotations

import pytest

from framework.api.records import Aspect, Change, Concern, Outcome, Verdict
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import judge

RATE = Change(0.0, 0.75, higher_is_better=True, outcome=Outcome.better)
LOSS = Change(2.0, 0.5, higher_is_better=False, outcome=Outcome.better)


def judged(*concerns: Concern, **changes: Change) -> Verdict:
    return judge(changes, concerns, VerdictConfig())


def concern(aspect: Aspect, *, flagged: bool = True, harm: float = 0.0) -> Concern:
    return Concern("x", aspect, "12 of 24 rows are recited", "Train for fewer epochs", flagged, harm)


def test_a_rate_gains_its_points_and_a_loss_its_share() -> None:
    verdict = judged(rate=RATE, eval_loss=LOSS)
    assert verdict.gained is Outcome.better
    assert verdict.score == pytest.approx((0.75 + 0.75) / 2)
    assert verdict.lines == ["gained: better in rate, eval_loss (95% sure)"]
    assert (verdict.forgot, verdict.copied) == (None, None)


def test_what_is_not_told_apart_gains_nothing() -> None:
    verdict = judged(rate=Change(0.5, 0.6, higher_is_better=True, outcome=Outcome.undecided))
    assert (verdict.gained, verdict.score) == (Outcome.undecided, 0)
    assert verdict.lines == ["gained: no significant difference in rate (95% confidence)"]


def test_better_and_worse_is_mixed() -> None:
    verdict = judged(rate=RATE, eval_loss=Change(1.0, 2.0, higher_is_better=False, outcome=Outcome.worse))
    assert verdict.gained is Outcome.mixed
    assert verdict.score == pytest.approx((0.75 - 0.5) / 2)


def test_without_a_baseline_nothing_is_known() -> None:
    verdict = judged(rate=Change(None, 1.0, higher_is_better=True))
    assert (verdict.gained, verdict.score) == (None, None)
    assert verdict.lines == ["gained: not known, there is nothing to compare with"]


def test_harm_is_taken_off_and_a_flag_tells_its_cure() -> None:
    general = Change(0.6, 0.2, higher_is_better=True, aspect=Aspect.general, outcome=Outcome.worse)
    verdict = judged(concern(Aspect.general, harm=0.25), rate=RATE, general=general)
    assert (verdict.forgot, verdict.copied) == (True, None)
    assert verdict.score == pytest.approx(0.5)
    assert verdict.lines[1:] == ["forgot: 12 of 24 rows are recited. Train for fewer epochs"]


def test_what_was_looked_for_and_not_found_is_said() -> None:
    copying = Change(0.1, 0.1, higher_is_better=False, aspect=Aspect.copying, outcome=Outcome.undecided)
    verdict = judged(concern(Aspect.copying, flagged=False), rate=RATE, copying=copying)
    assert (verdict.copied, verdict.forgot) == (False, None)
    assert verdict.lines[1:] == ["copied: no measurable memorization (12 of 24 rows are recited)"]


def test_measures_of_other_aspects_are_no_gain() -> None:
    general = Change(0.2, 0.9, higher_is_better=True, aspect=Aspect.general, outcome=Outcome.better)
    assert judged(general=general).gained is None
