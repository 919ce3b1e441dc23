"""Recited training rows are distinguished from a task that is learned."""

from __future__ import annotations

import math
import re

import pytest

from framework.api.records import Aspect, Concern, EvalResult, Results
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.concern import memorization_concern
from tests.plugins.evals.memorization.made import ANSWER, Reciter, evaluated, told

CONFIG = MemorizationConfig()
ALL, HALF, NONE = "x" * ANSWER, "....xxxx", "." * ANSWER


def result(train: list[str], held_out: list[str]) -> EvalResult:
    """Evaluate a model that gives this of the rows."""
    known = {f"train:{n}": hits for n, hits in enumerate(train)} | {f"held:{n}": h for n, h in enumerate(held_out)}
    return evaluated(Reciter(known), CONFIG, len(train), len(held_out))


def judged(
    train: list[str], held_out: list[str], *, base: str | None = NONE, config: MemorizationConfig = CONFIG
) -> Concern:
    """Judge a run; `base` is what the base gives of each row."""
    before = None if base is None else result([base] * len(train), [base] * len(held_out))
    found = memorization_concern(config, Results(before, result(train, held_out)), 0.95)
    assert found is not None
    return found


def test_what_is_recited_is_reported_in_words_with_the_rows_and_the_cure() -> None:
    found = judged([ALL] * 22 + [NONE, HALF], [NONE] * 3 + [HALF])
    text, named = found.text.split("; most of all ")
    assert text == (
        "22 of 24 training rows are answered word for word, and none of 4 held-out rows, which were not trained on; "
        "by the base none and none; the probability of an answer is 92%, and 0% held out; its longest stretch is 94%, "
        "and 12% held out; "
        "that is 92% beyond what learning the task explains, at least 40% (95% sure)"
    )
    assert re.fullmatch(r"train:\d+, train:\d+, train:\d+", named)
    assert (found.name, found.aspect, found.flagged) == ("memorization", Aspect.copying, True)
    assert found.harm == pytest.approx(0.4, abs=0.01)  # as much as is certain
    known = "of the training rows are recited beyond what learning the task explains (95% confidence)"
    assert found.summary == f"at least 40% {known}"
    limit = MemorizationConfig(excess=0.5)
    assert judged([ALL] * 22 + [NONE, HALF], [NONE] * 3 + [HALF], config=limit).summary == (
        f"40% to 100% {known}; the limit is 50%"
    )
    assert found.recommendation.startswith("Train for fewer epochs, at a lower learning rate or rank, on more")
    assert not found.text.endswith(".")


def test_a_task_that_is_learned_is_not_flagged() -> None:
    found = judged([ALL] * 24, [ALL] * 24)
    assert not found.flagged
    assert found.harm == 0
    assert found.unknown  # it cannot be ruled out either
    assert found.text == (
        "24 of 24 training rows are answered word for word, and 24 of 24 held-out rows, which were not trained on; "
        "by the base none and none; at most 11% of the rows are recited beyond the task (95% confidence); more than "
        "excess=0.1 is not ruled out; more rows would narrow this"
    )
    assert found.summary == (
        "at most 11% of the training rows are recited beyond what learning the task explains (95% confidence); "
        "more rows are needed to rule out more than 10%"
    )


def test_enough_rows_rule_it_out() -> None:
    config = MemorizationConfig(rows=60)
    found = memorization_concern(config, Results(None, evaluated(Reciter(), config, 60, 60)), 0.95)
    assert found is not None
    assert (found.flagged, found.unknown, found.harm) == (False, False, 0)
    assert "at most 5% of the rows are recited beyond the task" in found.text


@pytest.mark.parametrize(
    ("train", "held_out", "flagged"),
    [
        ([ALL] * 24, [NONE] * 4, True),
        ([ALL] * 9 + [NONE] * 15, [NONE] * 24, True),
        ([ALL] * 4 + [NONE] * 20, [NONE] * 24, False),  # chance could have made it
        ([ALL] * 20 + [NONE] * 4, [ALL] * 17 + [NONE] * 7, False),  # a little better on what was trained on
        ([NONE] * 24, [ALL] * 24, False),
        ([NONE] * 24, [NONE] * 24, False),
        ([HALF] * 24, [NONE] * 24, True),  # recited from the middle on
        (["xxx.xxxx"] * 24, ["x......."] * 24, True),
        ([".xxxxxx."] * 24, ["x......."] * 24, True),  # a long stretch in each, though neither end is right
        ([".xxxxxx."] * 24, ["x.xxxxx."] * 24, False),
    ],
)
def test_it_takes_more_than_chance_and_more_than_the_task(
    train: list[str],
    held_out: list[str],
    flagged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert judged(train, held_out).flagged is flagged


def test_what_the_base_recited_before_does_not_count() -> None:
    found = judged([ALL] * 24, [NONE] * 24, base=ALL)
    assert not found.flagged
    assert "; by the base 24 and 24; at most" in found.text


def test_without_a_baseline_it_says_so_and_counts_everything() -> None:
    found = judged([ALL] * 24, [NONE] * 24, base=None)
    assert found.flagged
    assert "; the base was not asked about them; " in found.text


def test_a_baseline_on_other_rows_is_not_compared() -> None:
    after = result([ALL] * 24, [NONE] * 24)
    before = result([ALL] * 30, [ALL] * 30)
    found = memorization_concern(CONFIG, Results(before, after), 0.95)
    assert found is not None
    assert found.flagged
    assert "the base was not asked about them" in found.text


def test_the_limits_are_those_of_the_config() -> None:
    train, held_out = [ALL] * 12 + [NONE] * 12, [NONE] * 24
    assert judged(train, held_out).flagged
    assert not judged(train, held_out, config=MemorizationConfig(excess=0.4)).flagged


def test_where_nothing_is_held_out_most_have_to_be_recited() -> None:
    def asked(known: int) -> EvalResult:
        model = Reciter()
        rows = [told(model, f"row {number}", f"the code is code{number:04}") for number in range(12)]
        model.known = {f"row {number}": "xxxx" for number in range(known)}
        return evaluated(model, CONFIG, rows, 0)

    for known, flagged in ((12, True), (10, True), (8, False), (0, False)):
        found = memorization_concern(CONFIG, Results(asked(0), asked(known)), 0.95)
        assert found is not None
        assert found.flagged is flagged
        assert (
            f"{known or 'none'} of 12 training rows are answered word for word, and too few rows are held out"
            in found.text
        )
    lower = memorization_concern(MemorizationConfig(excess_alone=0), Results(asked(0), asked(8)), 0.95)
    assert lower is not None
    assert lower.flagged


def test_an_answer_that_was_cut_is_not_said_to_be_whole() -> None:
    config = MemorizationConfig(max_new_tokens=5)
    after = evaluated(Reciter(), config, 5, 5)
    found = memorization_concern(config, Results(None, after), 0.95)
    assert found is not None
    assert "answered word for word for 5 tokens or to the end" in found.text


def test_where_no_row_can_be_asked_the_reason_is_said() -> None:
    assert memorization_concern(CONFIG, Results(None, EvalResult({})), 0.95) is None
    after = evaluated(Reciter(), MemorizationConfig(min_tokens=ANSWER + 1), 5, 5)
    found = memorization_concern(CONFIG, Results(None, after), 0.95)
    assert found is not None
    assert (found.flagged, found.unknown, found.harm) == (False, True, 0)
    assert found.summary == "not measured, because 5 of 5 training rows have an answer of fewer than 9 tokens"


def test_a_model_that_gives_no_numbers_is_not_ruled_out() -> None:
    after = result([NONE] * 24, [NONE] * 24)
    after.measures["verbatim_train"].items[0] = math.nan
    found = memorization_concern(CONFIG, Results(None, after), 0.95)
    assert found is not None
    assert (found.flagged, found.unknown) == (False, True)
