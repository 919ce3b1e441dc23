"""framework/evaluate/verdict/judge.py: gained, forgot, copied."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from framework.api.records import Aspect, Change, Concern, EvalResult, Measure, MeasureKind, Outcome, Verdict
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare, judge

CONFIG = VerdictConfig(resamples=999)


def one(before: int, after: int, count: int = 60, kind: MeasureKind = MeasureKind.content) -> tuple[Measure, Measure]:
    """A share before and after."""
    sides = ([*[1.0] * right, *[0.0] * (count - right)] for right in (before, after))
    first, last = (Measure(sum(items) / count, [*items], higher_is_better=True, kind=kind) for items in sides)
    return first, last


def judged(*concerns: Concern, leak: str = "", template: bool = False, **pairs: tuple[Measure, Measure]) -> Verdict:
    before, after = (EvalResult({name: pair[side] for name, pair in pairs.items()}) for side in (0, 1))
    return judge(compare(before, after, CONFIG), concerns, CONFIG, leak=leak, template=template)


def concern(aspect: Aspect, *, flagged: bool = True, harm: float = 0.0, unknown: bool = False) -> Concern:
    return Concern("x", aspect, "12 of 24 rows are recited", "Train for fewer epochs", flagged, harm, unknown)


def test_a_gain_is_reported_with_its_numbers_and_scores_what_is_certain() -> None:
    verdict = judged(exact_match=one(0, 57))
    assert (verdict.gained, verdict.primary) == (Outcome.better, "exact_match")
    assert verdict.lines == [
        "gained: better. exact_match 0% to 95% of 60 prompts, +84 to +100 points at 95% confidence (p < 0.001)"
    ]
    assert verdict.score == pytest.approx(0.84, abs=0.01)
    assert (verdict.forgot, verdict.copied) == (None, None)


def test_where_nothing_is_certain_it_says_what_the_prompts_could_have_shown() -> None:
    verdict = judged(exact_match=one(10, 12, 20))
    assert (verdict.gained, verdict.score) == (Outcome.unknown, 0)
    (line,) = verdict.lines
    assert line.startswith("gained: cannot tell, no significant difference. exact_match 50% to 60% of 20 prompts, ")
    assert line.endswith("; with 20 prompts, four of five runs detect a difference of 46 points")


@pytest.mark.parametrize("items", [([0.0, 1.0], [1.0, 1.0]), ([0.2, 0.9], [0.9, 0.3])])
def test_two_prompts_are_too_few_to_show_any_difference_of_a_share(items: tuple[list[float], list[float]]) -> None:
    first, last = (Measure(sum(side) / 2, [*side], higher_is_better=True, kind=MeasureKind.content) for side in items)
    (line,) = judged(token_f1=(first, last)).lines
    assert line.endswith("; 2 prompts are too few to detect any difference")


def test_no_worse_is_reported_with_its_margin() -> None:
    verdict = judged(exact_match=one(200, 200, 200))
    assert verdict.gained is Outcome.no_worse
    assert verdict.lines[0].startswith("gained: no worse than 5 points, and no significant gain. exact_match 100% to")


def test_form_without_content_is_better_in_form_only() -> None:
    """Answers dealt out among the rows: the form is learned, and nothing else."""
    verdict = judged(exact_match=one(0, 0, 20), json_valid=one(0, 20, 20, MeasureKind.form))
    assert verdict.gained is Outcome.unknown
    assert verdict.lines[1] == "better in form only: json_valid"
    assert verdict.score == 0


def test_a_score_does_not_fall_below_minus_one() -> None:
    harms = [concern(Aspect.general, harm=0.9), concern(Aspect.copying, harm=0.8)]
    assert judged(*harms, exact_match=one(10, 10)).score == -1


def test_other_content_that_got_worse_stands_beside_a_primary_measure_that_had_nothing_to_lose() -> None:
    verdict = judged(exact_match=one(0, 0), json_fields=one(25, 0), json_valid=one(0, 60, kind=MeasureKind.form))
    assert (
        "; the base already has the worst possible score; with 60 prompts, four of five runs detect" in verdict.lines[0]
    )
    assert verdict.lines[1:] == ["worse in content: json_fields 42% to 0%", "better in form only: json_valid"]
    assert judged(exact_match=one(0, 57), token_f1=one(40, 4)).lines[1] == "worse in content: token_f1 67% to 7%"


def test_without_a_measure_of_content_nothing_is_known() -> None:
    verdict = judged(json_valid=one(0, 60, kind=MeasureKind.form))
    assert (verdict.gained, verdict.score, verdict.primary) == (Outcome.unknown, None, "")
    assert verdict.lines[0].startswith("gained: cannot tell. No metric compares the content of answers")
    assert verdict.lines[1] == "better in form only: json_valid"


def test_what_was_not_asked_for_first_stands_apart() -> None:
    verdict = judged(exact_match=one(0, 57), json_valid=one(0, 60, kind=MeasureKind.form), token_f1=one(0, 57))
    assert len(verdict.lines) == 1
    assert verdict.more == ["content: better in token_f1", "form: better in json_valid"]


def test_a_leak_and_one_template_stand_beside_the_gain() -> None:
    verdict = judged(exact_match=one(0, 57), leak="3 of 60 prompts ask what a training row asks", template=True)
    assert verdict.lines[0].endswith("; all prompts follow one template, and this holds only for it")
    assert verdict.lines[1] == "leaked: 3 of 60 prompts ask what a training row asks; 0 of 60 are left out here"


def test_without_a_baseline_nothing_is_known() -> None:
    after = EvalResult({"rate": one(0, 60)[1]})
    verdict = judge(compare(None, after, CONFIG), (), CONFIG)
    assert (verdict.gained, verdict.score) == (None, None)
    assert verdict.lines == ["gained: unknown, because the base was not measured"]


def test_harm_is_taken_off_and_a_flag_tells_what_to_change() -> None:
    general = tuple(replace(part, aspect=Aspect.general) for part in one(60, 20))
    alone = judged(rate=one(0, 57))
    verdict = judged(concern(Aspect.general, harm=0.25), rate=one(0, 57), general=(general[0], general[1]))
    assert (verdict.forgot, verdict.copied) == (True, None)
    assert alone.score is not None
    assert verdict.score == pytest.approx(alone.score - 0.25)
    assert verdict.lines[1:] == ["forgot: 12 of 24 rows are recited. Train for fewer epochs"]


@pytest.mark.parametrize(
    ("unknown", "copied", "line"),
    [
        (False, False, "copied: no more than the margin (12 of 24 rows are recited)"),
        (True, None, "copied: cannot tell. 12 of 24 rows are recited"),
    ],
)
def test_what_could_not_be_seen_is_not_called_nothing(line: str, *, unknown: bool, copied: bool | None) -> None:
    first, last = (replace(part, aspect=Aspect.copying) for part in one(3, 3))
    about = concern(Aspect.copying, flagged=False, unknown=unknown)
    verdict = judged(about, rate=one(0, 57), copying=(first, last))
    assert (verdict.copied, verdict.forgot) == (copied, None)
    assert verdict.lines[1:] == [line]


def test_measures_of_other_aspects_are_no_gain() -> None:
    first, last = (replace(part, aspect=Aspect.general) for part in one(0, 60))
    assert judged(general=(first, last)).gained is Outcome.unknown


def test_an_unmeasured_primary_measure_is_named() -> None:
    config = VerdictConfig(primary="judge")
    pair = one(0, 60)
    verdict = judge(compare(EvalResult({"a": pair[0]}), EvalResult({"a": pair[1]}), config), (), config)
    assert verdict.lines[0] == "gained: cannot tell. verdict.primary=judge was not measured"


def test_the_score_grows_without_a_jump_where_a_difference_becomes_significant() -> None:
    scores = [judged(rate=one(0, right)).score for right in range(4, 9)]
    known = [score for score in scores if score is not None]
    assert known == sorted(known)
    assert max(after - before for before, after in itertools.pairwise(known)) < 0.05


def test_nothing_finite_is_worse_and_counted() -> None:
    before = Measure(2.0, [2.0] * 10, kind=MeasureKind.content)
    after = Measure(float("nan"), [*[1.0] * 9, float("nan")], kind=MeasureKind.content)
    verdict = judged(loss=(before, after))
    assert (verdict.gained, verdict.score) == (Outcome.worse, -1)
    assert verdict.lines == ["gained: worse in loss: 1 of 10 prompts give no finite number"]


def test_changes_without_a_test_are_not_reported() -> None:
    changes = {"x": Change(1.0, 2.0, higher_is_better=True, kind=MeasureKind.content, primary=True)}
    verdict = judge(changes, (), CONFIG)
    assert verdict.lines == ["gained: cannot tell. x has no result for each prompt, so nothing can be tested"]
