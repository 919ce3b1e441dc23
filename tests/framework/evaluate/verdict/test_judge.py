"""framework/evaluate/verdict/judge.py: gained, forgot, copied."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from framework.api.records import Aspect, Change, Concern, EvalResult, Measure, MeasureKind, Outcome, Tone, Verdict
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
        "gained: yes. exact_match rose from 0% to 95% on 60 prompts, by at least 84 points (95% confidence)"
    ]
    assert (verdict.summary, verdict.tone) == ("Better: exact_match rose from 0% to 95%.", Tone.good)
    assert verdict.tones == [Tone.good]
    assert verdict.more == [
        "exact_match rose from 0% to 95% on 60 prompts, +84 to +100 points at 95% confidence, p < 0.001",
        "the base scores 0%: if these prompts were chosen because it fails, some of the gain is chance (regression to "
        "the mean)",
        "score 0.84, from -1 to 1: the gain that is certain, less the harm that is certain",
    ]
    assert verdict.score == pytest.approx(0.84, abs=0.01)
    assert (verdict.forgot, verdict.copied) == (None, None)


def test_a_loss_from_all_right_may_be_the_choice_of_the_prompts() -> None:
    verdict = judged(exact_match=one(60, 30))
    assert verdict.gained is Outcome.worse
    assert verdict.more[1] == (
        "the base scores 100%: if these prompts were chosen because it succeeds, some of the loss is chance "
        "(regression to the mean)"
    )


def test_where_nothing_is_certain_it_says_what_the_prompts_could_have_shown() -> None:
    verdict = judged(exact_match=one(10, 12, 20))
    assert (verdict.gained, verdict.score) == (Outcome.unknown, 0)
    (line,) = verdict.lines
    assert line == (
        "gained: not shown. exact_match rose from 50% to 60% on 20 prompts, between -9 and +32 points (95% "
        "confidence); with 20 prompts, only a difference of about 46 points or more is likely to show"
    )
    between = "between -9 and +32 points (95% confidence)"
    assert verdict.summary == f"Too few prompts to tell: exact_match rose from 50% to 60%, {between}."


@pytest.mark.parametrize("items", [([0.0, 1.0], [1.0, 1.0]), ([0.2, 0.9], [0.9, 0.3])])
def test_two_prompts_are_too_few_to_show_any_difference_of_a_share(items: tuple[list[float], list[float]]) -> None:
    first, last = (Measure(sum(side) / 2, [*side], higher_is_better=True, kind=MeasureKind.content) for side in items)
    (line,) = judged(token_f1=(first, last)).lines
    assert line.endswith("; 2 prompts are too few to show any difference")


def test_a_few_wrong_answers_do_not_show_that_nothing_was_gained() -> None:
    verdict = judged(exact_match=one(0, 0, count=4))
    between = "between -61 and +61 points (95% confidence)"
    assert verdict.summary == f"Too few prompts to tell: exact_match is 0%, before and after, {between}."


def test_no_worse_is_reported_with_its_margin() -> None:
    verdict = judged(exact_match=one(150, 150, 200))
    assert verdict.gained is Outcome.no_worse
    assert verdict.lines == [
        "gained: no. exact_match is 75% on 200 prompts, before and after; a gain or a loss of more than 5 points is "
        "ruled out (95% confidence)"
    ]


def test_a_gain_that_is_not_ruled_out_is_not_shown() -> None:
    """That a loss is ruled out does not show that nothing was gained."""
    verdict = judged(exact_match=one(54, 57, 60))
    assert verdict.gained is Outcome.no_worse
    moved = "exact_match rose from 90% to 95%"
    assert verdict.summary.startswith(f"No gain shown: {moved}, between ")
    assert verdict.lines[0].startswith(f"gained: not shown. {moved} on 60 prompts, between ")
    assert verdict.lines[0].endswith("; a loss of more than 5 points is ruled out (95% confidence)")


@pytest.mark.parametrize(
    ("count", "more", "ruled_out"),
    [
        (20, ", and a loss of up to 13 points is not ruled out (95% confidence)", ""),
        (60, ": ask harder ones", "; a loss of more than 5 points is ruled out (95% confidence)"),
    ],
)
def test_a_base_that_is_always_right_leaves_no_gain_to_show(count: int, more: str, ruled_out: str) -> None:
    verdict = judged(exact_match=one(count, count, count))
    text = f"the base answers {count} prompts right already, so they cannot show a gain{more}"
    assert verdict.summary == f"No gain can be seen: {text}."
    assert verdict.lines == [f"gained: cannot be seen. {text}{ruled_out}"]


@pytest.mark.parametrize(("after", "count", "points"), [(57, 60, 14), (0, 3, 100)])
def test_a_fall_from_all_right_is_lost_or_chance_and_no_advice_to_ask_harder_prompts(
    after: int, count: int, points: int
) -> None:
    verdict = judged(exact_match=one(count, after, count))
    assert verdict.summary.startswith(f"Lost, or chance: exact_match fell from 100% to {after / count:.0%}; a loss of ")
    assert f"up to {points} points is not ruled out" in verdict.summary
    assert verdict.tone is Tone.flagged


def test_a_known_bound_is_the_sentence() -> None:
    (line,) = judged(exact_match=one(0, 0)).lines
    assert line == (
        "gained: no. exact_match is 0%: none of 60 prompts is answered right, before or after; a gain of more than 5 "
        "points is ruled out (95% confidence)"
    )


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
    assert verdict.lines[1:] == ["lost: json_fields fell from 42% to 0%", "better in form only: json_valid"]
    assert verdict.tones[1:] == [Tone.lost, Tone.neutral]
    assert verdict.summary.startswith("Worse: json_fields fell from 42% to 0%; none of 60 prompts")
    assert judged(exact_match=one(0, 57), token_f1=one(40, 4)).summary == (
        "Better, but with losses: exact_match rose from 0% to 95%; token_f1 fell from 67% to 7%."
    )


def test_without_a_measure_of_content_nothing_is_known() -> None:
    verdict = judged(json_valid=one(0, 60, kind=MeasureKind.form))
    assert (verdict.gained, verdict.score, verdict.primary) == (Outcome.unknown, None, "")
    assert verdict.lines[0].startswith("gained: cannot tell. no metric compares the content of answers")
    assert verdict.summary.startswith("Cannot tell: no metric compares the content")
    assert verdict.lines[1] == "better in form only: json_valid"


def losses(value: float, broken: int = 0) -> Measure:
    items: list[float | None] = [value + number / 100 for number in range(24 - broken)]
    return Measure(value, [*items, *[float("nan")] * broken], kind=MeasureKind.loss)


def test_a_destroyed_model_is_never_headed_no_difference() -> None:
    ends, form = one(9, 0, kind=MeasureKind.form), one(0, 0)
    verdict = judged(
        concern(Aspect.general, harm=0.5), exact_match=form, eval_loss=(losses(0.5), losses(15.3)), stopped=ends
    )
    assert verdict.summary == (
        "Worse: the validation loss rose from 0.5 to 15.3, no answer ends by itself any more, and it forgot part of "
        "what it knew; none of 60 prompts is answered right, before or after."
    )
    assert verdict.tone is Tone.lost
    # Overfitting raises the loss while the answers get better, so a small rise is a detail.
    assert judged(exact_match=one(0, 57), eval_loss=(losses(0.5), losses(0.7))).tone is Tone.good
    assert judged(exact_match=one(0, 57), eval_loss=(losses(0.5), losses(1.7))).tone is Tone.flagged


@pytest.mark.parametrize(
    ("loss", "accuracy", "first"),
    [
        (1.7, (30, 50), "No gain shown: exact_match rose from 40% to 42%, between -4 and +9 points (95% confidence); "
         "preference_accuracy rose from 50% to 83%."),
        (2.5, (30, 50), "Worse: the validation loss rose from 1.5 to 2.5; exact_match"),
        (1.7, (30, 30), "Worse: the validation loss rose from 1.5 to 1.7; exact_match"),
        (1.7, (50, 30), "Worse: preference_accuracy fell from 83% to 50%, and the validation loss rose from 1.5 to"),
    ],
)  # fmt: skip
def test_chosen_answers_may_become_a_little_less_likely_while_preferences_get_better(
    loss: float, accuracy: tuple[int, int], first: str
) -> None:
    preference = one(*accuracy, kind=MeasureKind.loss)
    verdict = judged(exact_match=one(24, 25), eval_loss=(losses(1.5), losses(loss)), preference_accuracy=preference)
    assert verdict.summary.startswith(first)


def test_one_row_without_a_finite_loss_has_a_line_of_its_own() -> None:
    verdict = judged(exact_match=one(0, 57), eval_loss=(losses(1.0), losses(0.1, broken=1)))
    broken = "eval_loss is no longer a finite number for 1 of 24 items"
    assert verdict.lines[1] == f"broken: {broken}: the weights are damaged, or overflow there"
    assert verdict.summary.endswith(f"; {broken}.")


def test_a_form_that_is_lost_while_content_is_won_is_both() -> None:
    before, after = one(24, 0)
    verdict = judged(exact_match=(before, replace(after, content=one(57, 0)[0].items)))
    assert verdict.summary == (
        "Better in content, worse in form: exact_match fell from 40% to 0%, but if only the content of an answer "
        "counts, it rose from 40% to 95%."
    )
    assert (verdict.gained, verdict.tone) == (Outcome.worse, Tone.flagged)
    still = judged(exact_match=(before, replace(after, content=before.items)))
    assert still.summary.startswith("Worse: exact_match fell")


def test_another_measure_of_content_that_rose_is_in_the_first_sentence() -> None:
    verdict = judged(exact_match=one(0, 0), token_f1=one(20, 50))
    right = "none of 60 prompts is answered right, before or after"
    assert verdict.summary == f"Better in part: token_f1 rose from 33% to 83%; {right}."
    assert verdict.lines[0].startswith(f"gained: in part. token_f1 rose from 33% to 83%; exact_match is 0%: {right}")
    assert verdict.gained is not Outcome.better
    still = judged(exact_match=one(20, 20), token_f1=one(20, 50))
    hacked = judged(concern(Aspect.task), exact_match=one(0, 0), token_f1=one(20, 50))
    assert hacked.summary.startswith(f"No gain: {right}")
    assert still.summary.endswith("; token_f1 rose from 33% to 83%.")
    assert "token_f1" not in judged(exact_match=one(10, 50), token_f1=one(20, 50)).summary


@pytest.mark.parametrize(("ended", "words"), [(0, "no answer"), (12, "only 20% of the answers"), (40, "")])
def test_answers_before_the_training_that_were_cut_are_named_beside_a_gain(ended: int, words: str) -> None:
    before, after = one(ended, 60)
    stopped = (replace(before, kind=MeasureKind.form), replace(after, kind=MeasureKind.form))
    verdict = judged(exact_match=one(0, 50), stopped=stopped)
    cut = f"; {words} of the base ended within the limit of tokens, so more may have been right" if words else ""
    assert verdict.summary == f"Better: exact_match rose from 0% to 83%{cut}."
    assert verdict.lines[0].endswith(f"(95% confidence){cut}")


def test_form_and_constant_answers_are_no_gain() -> None:
    """A base that says `Positive.`, and a trained model that says `positive` to everything."""
    before, after = one(0, 48)
    constant = replace(after, constant="positive", constant_items=after.items, answers=1)
    verdict = judged(exact_match=(replace(before, content=one(44, 0)[0].items), constant))
    assert (verdict.gained, verdict.score, verdict.tone) == (Outcome.no_worse, 0, Tone.flagged)
    assert verdict.summary == (
        "Better in form; no gain in content shown: exact_match rose from 0% to 80%, but if only the content of an "
        "answer counts, it was 73% before and is 80% after, between -1 and +16 points (95% confidence)."
    )
    assert verdict.lines[0].endswith('; the same answer to all prompts, "positive", scores 80% too')
    assert verdict.lines[1] == "constant: the model gives the same answer to all 60 prompts"
    lost = replace(constant, content=after.items, items=after.items, answers=3)
    verdict = judged(exact_match=(replace(before, content=[1.0] * 60), lost))
    assert verdict.summary == (
        "Worse: the answers lost content and gained only form: exact_match rose from 0% to 80%, but if only the "
        "content of an answer counts, it fell from 100% to 80%."
    )
    assert (verdict.gained, verdict.tone) == (Outcome.worse, Tone.lost)
    assert verdict.score is not None
    assert verdict.score < 0
    collapsed = judged(exact_match=(replace(before, content=[1.0] * 60), replace(lost, answers=1)))
    assert "constant: the model gives the same answer to all 60 prompts" in collapsed.lines
    wrong = replace(before, content=[])
    verdict = judged(exact_match=(wrong, replace(constant, answers=3)))
    assert verdict.lines == [
        "gained: not shown. exact_match rose from 0% to 80% on 60 prompts, but the same answer to all prompts, "
        '"positive", scores 80%'
    ]


@pytest.mark.parametrize(("right", "worse"), [(15, True), (50, False)])
def test_content_that_is_lost_is_a_loss_though_no_answer_is_exact(right: int, *, worse: bool) -> None:
    nothing, contents = one(0, 0)[0], [one(right_of, 0)[0].items for right_of in (52, right)]
    before, after = (replace(nothing, content=items) for items in contents)
    lost = (
        "Worse: the answers lost content: exact_match is 0%, before and after, but if only the content of an answer "
        "counts, it fell from 87% to 25%."
    )
    assert (judged(exact_match=(before, after)).summary == lost) is worse
    assert judged(f1=(before, after), exact_match=(nothing, nothing)).summary.startswith(
        "Worse: the answers lost content: f1" if worse else "No gain: none of 60 prompts is answered right"
    )


def test_a_secondary_measure_that_gained_only_form_says_what_fell() -> None:
    before, after = one(0, 30)
    lost = replace(before, content=one(60, 0)[0].items), after
    lines = judged(exact_match=one(0, 60), f1=lost).lines
    assert "lost: f1 fell from 100% to 50% if only the content of an answer counts" in lines


@pytest.mark.parametrize(("answers", "gives"), [(1, ""), (3, "; the model gives 3 different answers")])
def test_the_details_have_the_best_constant_answer(answers: int, gives: str) -> None:
    before, after = one(0, 0)
    constant = replace(after, constant="no", constant_items=one(0, 6)[1].items, answers=answers)
    more = judged(exact_match=(before, constant)).more
    assert more[1] == f'the best answer that is the same for all prompts, "no", scores 10%{gives}'


@pytest.mark.parametrize(("distance", "same", "nothing"), [(0.003, 58, True), (0.02, 58, False), (0.003, 40, False)])
def test_a_training_that_changed_nothing_is_told_so(distance: float, same: int, *, nothing: bool) -> None:
    far = Measure(distance, [distance] * 8, aspect=Aspect.general, kind=MeasureKind.change, unit="nats")
    pair = one(0, 0)
    changes = compare(EvalResult({"a": pair[0]}), EvalResult({"a": pair[1], "far": far}), CONFIG)
    verdict = judge(changes, (), CONFIG, equal_answers=(same, 60))
    text = "The training changed nothing: 58 of 60 answers are as before, and so are the probabilities of tokens at "
    assert (verdict.summary == f"{text}general answers (0.003 nats per token from the base).") is nothing


@pytest.mark.parametrize(
    ("losses", "items", "right"), [((2.0, 0.4), 20, 60), ((2.0, 2.0), 20, 57), ((0.436, 0.37), 2, 60)]
)
def test_a_training_that_moved_a_loss_or_a_score_has_changed_something(
    losses: tuple[float, float], items: int, right: int
) -> None:
    far = Measure(0.003, [0.003] * 8, aspect=Aspect.general, kind=MeasureKind.change, unit="nats")
    before, after = (
        {"a": score, "eval_loss": Measure(loss, [loss + place / 100 for place in range(items)], kind=MeasureKind.loss)}
        for score, loss in zip(one(right, 60), losses, strict=True)
    )
    changes = compare(EvalResult(before), EvalResult({**after, "far": far}), CONFIG)
    assert "changed nothing" not in judge(changes, (), CONFIG, equal_answers=(58, 60)).summary


def test_what_is_known_of_a_concern_is_its_sentence_and_the_rest_is_a_detail() -> None:
    about = replace(
        concern(Aspect.copying, flagged=False, unknown=True, harm=0.3), summary="at least 30% of the rows are recited"
    )
    verdict = judge({}, [about, replace(about, aspect=Aspect.general, flagged=True)], CONFIG)
    assert verdict.lines[1:] == [
        "forgot: yes. at least 30% of the rows are recited",
        "copied: at least 30% of the rows are recited",
        "what helps: Train for fewer epochs",
    ]
    assert verdict.tones[1:3] == [Tone.lost, Tone.flagged]
    assert verdict.more == ["copied: 12 of 24 rows are recited", "forgot: 12 of 24 rows are recited"]
    whole = replace(about, text=about.summary)
    assert judge({}, [whole], CONFIG).more == []  # nothing is said twice


def test_a_trial_says_that_it_was_chosen() -> None:
    before, after = (EvalResult({"a": side}) for side in one(0, 57))
    changes = compare(before, after, CONFIG)
    assert judge(changes, (), CONFIG, chosen="by these prompts").lines[1] == "chosen: by these prompts"


def test_what_was_not_asked_for_first_stands_apart() -> None:
    verdict = judged(exact_match=one(0, 57), json_valid=one(0, 60, kind=MeasureKind.form), token_f1=one(0, 57))
    assert len(verdict.lines) == 1
    assert verdict.more[2:4] == ["content: better in token_f1", "form: better in json_valid"]


def test_prompts_that_are_left_out_are_counted_where_the_others_are_too_few() -> None:
    before, after = (EvalResult({"a": side}) for side in one(0, 2, 2))
    change = replace(compare(before, after, CONFIG)["a"], leaked=58)
    assert judge({"a": change}, (), CONFIG).summary == (
        "Too few prompts to tell: a rose from 0% to 100% on 2 prompts, between -88 and +100 points (95% confidence); "
        "58 more are answered by training rows."
    )


def test_a_leak_and_one_template_stand_beside_the_gain() -> None:
    verdict = judged(exact_match=one(0, 57), leak="3 of 60 prompts ask what a training row asks", template=True)
    assert "all prompts follow one template: this holds only for prompts of this template" in verdict.more
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
    assert verdict.lines[1:] == [
        "forgot: yes. 12 of 24 rows are recited",
        "what helps: Train for fewer epochs",
    ]
    assert verdict.tones[1] is Tone.lost
    assert verdict.summary == ("Better, but with losses: rate rose from 0% to 95%; it forgot part of what it knew.")


@pytest.mark.parametrize(
    ("unknown", "harm", "copied", "line"),
    [
        (False, 0.0, False, "copied: no. 12 of 24 rows are recited"),
        (False, 0.09, False, "copied: within the limit. 12 of 24 rows are recited"),
        (True, 0.0, None, "copied: not ruled out. 12 of 24 rows are recited"),
    ],
)
def test_what_could_not_be_seen_is_not_called_nothing(
    line: str, harm: float, *, unknown: bool, copied: bool | None
) -> None:
    first, last = (replace(part, aspect=Aspect.copying) for part in one(3, 3))
    about = concern(Aspect.copying, flagged=False, unknown=unknown, harm=harm)
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
    assert verdict.lines == ["gained: no, it got worse. loss is no longer a finite number for 1 of 10 items"]


def test_changes_without_a_test_are_not_reported() -> None:
    changes = {"x": Change(1.0, 2.0, higher_is_better=True, kind=MeasureKind.content, primary=True)}
    verdict = judge(changes, (), CONFIG)
    assert verdict.lines == ["gained: cannot tell. x has no result for each prompt, so nothing can be tested"]


def test_a_second_training_is_judged_against_its_start_and_then_against_the_base() -> None:
    start, after = one(54, 54)
    loss = Measure(1.0, [1.0 + place / 100 for place in range(20)], kind=MeasureKind.loss)
    later = replace(loss, value=1 - 1e-6, items=[(item or 0) - 1e-6 for item in loss.items])
    changes = compare(EvalResult({"a": start, "eval_loss": loss}), EvalResult({"a": after, "eval_loss": later}), CONFIG)
    over = compare(EvalResult({"a": one(0, 0)[0]}), EvalResult({"a": after}), CONFIG)
    verdict = judge(changes, (), CONFIG, equal_answers=(60, 60), over_base=over)
    assert verdict.summary == (
        "The training changed nothing: 60 of 60 answers are as before, and so is the validation loss (1)."
    )
    assert verdict.lines[1].startswith("over the base: yes. a rose from 0% to 90% on 60 prompts, by at least ")
    assert "changed nothing" not in judge(changes, (), CONFIG, equal_answers=(59, 60), over_base=over).summary
    best = compare(EvalResult({"a": one(60, 0)[0]}), EvalResult({"a": one(60, 0)[0]}), CONFIG)
    said = "the adapter that it started from answers 60 prompts right already"
    assert said in judge(best, (), CONFIG, over_base=over).summary


@pytest.mark.parametrize(
    ("sides", "head", "moved"),
    [
        ((0, 19), "Better", "exact_match rose by 66 to 100 points"),
        ((20, 1), "Worse", "exact_match fell by 66 to 100 points"),
    ],
)
def test_an_early_look_gives_its_interval_first(sides: tuple[int, int], head: str, moved: str) -> None:
    before, after = (replace(each, early=True) for each in one(*sides, 20))
    verdict = judged(exact_match=(before, after))
    base, tuned = (f"{side / 20:.0%}" for side in sides)
    estimate = f"an early look at 20 prompts estimates {base} before and {tuned} after"
    assert verdict.summary == f"{head}: {moved}; {estimate}."
    assert verdict.lines[0].endswith(f"{moved} (95% confidence); {estimate}")


def test_wins_and_a_choice_beside_chance_have_no_before() -> None:
    _, wins = one(0, 50, 60)
    verdict = judge(
        compare(EvalResult({}), EvalResult({"judge_wins": replace(wins, compared=True)}), CONFIG), [], CONFIG
    )
    assert verdict.summary == "Better: judge prefers 83% of the trained model's answers to the base's (even: 50%)."
    chosen = judged(exact_match=one(33, 33), exact_match_vs_random=one(42, 12))
    assert chosen.summary.startswith(
        "Worse: exact_match is 20% if the reward chooses the answers, and 70% if chance does"
    )


def test_a_metric_that_gives_one_score_to_everything_is_not_a_base_that_is_right() -> None:
    before, after = one(60, 60)
    verdict = judged(stars=(before, replace(after, constant="x", constant_items=after.items)))
    assert "and for one answer to all of them: it shows no difference between answers" in verdict.summary


EXCERPTS = {"docs/tutorial/write-a-reward.md": (20, 0), "docs/how-to/grpo.md": (30,)}
"""Pages with verdicts of trainings that take minutes, and how many of 60 prompts were right after each; 0 before."""


def test_a_verdict_that_a_page_shows_is_what_the_program_says_of_such_a_training() -> None:
    """Those of docs/tutorial/first-run.md are compared with a run, by tests/test_main_job.py."""
    folder = Path(__file__).parents[4]
    shown = {
        str(page.relative_to(folder)): re.findall(r"^(\w.*)\n {2}(gained: .*)$", text, re.MULTILINE)
        for page in folder.glob("docs/*/*.md")
        if page.name != "first-run.md" and "\n  gained: " in (text := page.read_text(encoding="utf-8"))
    }
    verdicts = {page: [judged(plain_sentence=one(0, after)) for after in counts] for page, counts in EXCERPTS.items()}
    assert shown == {page: [(each.summary, each.lines[0]) for each in said] for page, said in verdicts.items()}
