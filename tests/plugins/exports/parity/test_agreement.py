"""exports/parity/agreement.py: how far two models agree, and which bound an export does not keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_plugins.exports.config import ParityConfig
from framework_plugins.exports.parity.agreement import (
    Agreement,
    AnswerMatch,
    Logits,
    compare_logits,
    exact_problem,
    quantized_problem,
)
from framework_plugins.exports.parity.check_rows import CheckRow
from tests.support.examples import examples

ROW = CheckRow("a prompt", (1, 2), (3,), stopped=True)
"""Three positions: the second predicts the answer, the third its end."""
STOP = frozenset({0})


def logits(*tops: int, size: float = 5.0) -> Logits:
    """Return logits of four tokens, each with one that is the likeliest."""
    made = np.zeros((len(tops), 4), dtype=np.float32)
    made[np.arange(len(tops)), tops] = size
    return made


def test_a_model_agrees_with_itself() -> None:
    found = compare_logits([ROW], [logits(1, 3, 0)], [logits(1, 3, 0)], STOP, 0.02)
    assert (found.positions, found.same, found.ties, found.top1, found.kl) == (3, 3, 0, 1.0, 0.0)
    assert (found.perplexity_ratio, found.stops, found.stops_kept) == (1.0, [True], True)
    assert found.text() == "top-1 100.00% of 3 positions, KL 0, perplexity x1.000, greedy answers equal 1 of 1"


def test_decisions_are_those_of_the_options_and_in_no_other_number() -> None:
    rows = [ROW]
    trained, export = [logits(1, 3, 0)], [logits(1, 3, 0)]
    # Two questions with two options each, of one token and its end: (tokens, vocabulary) at three positions.
    for question, (first, second) in enumerate([((3, 0), (2, 0)), ((2, 0), (3, 0))], start=1):
        for answer in (first, second):
            rows.append(CheckRow("", (1,), answer, stopped=True, last=3, question=question))
            trained.append(logits(3, 0, 1, size=1.0))
            export.append(logits(3 if question == 1 else 2, 0, 1, size=1.0))
    found = compare_logits(rows, trained, export, STOP, 0.02)
    assert (len(found.options), found.decided_alike) == (2, 1)
    assert found.decision_difference == pytest.approx((math.e - 1) / (math.e + 1))
    assert (found.positions, found.end_tokens) == (3, 0)
    assert found.text().endswith("; decisions equal 1 of 2, probabilities within 0.46")


def test_another_likeliest_token_is_counted_and_an_answer_that_goes_on_is_seen() -> None:
    found = compare_logits([ROW], [logits(1, 3, 0)], [logits(1, 3, 2)], STOP, 0.02)
    assert (found.same, found.ties, found.stops_kept) == (2, 0, False)
    assert found.top1_beyond_ties == pytest.approx(2 / 3)


def test_a_near_tie_is_distinguished_from_a_difference() -> None:
    near = logits(1, 3, 0)
    near[0, 2] = 4.99
    found = compare_logits([ROW], [near], [logits(2, 3, 0)], STOP, 0.02)
    assert (found.same, found.ties, found.top1_beyond_ties) == (2, 1, 1.0)
    assert found.text().startswith("top-1 66.67% (100.00% with ties below 0.02 nats) of 3 positions, ")
    assert compare_logits([ROW], [near], [logits(2, 3, 0)], STOP, 0.005).ties == 0


def test_divergence_and_perplexity_are_those_of_the_distributions() -> None:
    flat = np.zeros((3, 4), dtype=np.float32)
    found = compare_logits([ROW], [logits(1, 3, 0, size=math.log(9))], [flat], STOP, 0.02)
    sure, rest = 9 / 12, 1 / 12
    assert found.kl == pytest.approx(sure * math.log(sure * 4) + 3 * rest * math.log(rest * 4), rel=1e-5)
    assert found.perplexity_ratio == pytest.approx(sure * 4, rel=1e-5)  # of the one token of the answer


@pytest.mark.parametrize(("size", "top1"), [(-9.0, 1.0), (9.0, 0.0)])
def test_padding_of_the_vocabulary_counts_by_how_likely_it_is(size: float, top1: float) -> None:
    padded = np.concatenate([logits(1, 3, 0), np.full((3, 2), size, dtype=np.float32)], axis=1)
    found = compare_logits([ROW], [logits(1, 3, 0)], [padded], STOP, 0.02)
    assert (found.top1, found.kl > 1) == (top1, top1 == 0)
    narrower = compare_logits([ROW], [padded], [logits(1, 3, 0)], STOP, 0.02)  # Gemma 3's files lack such rows
    assert narrower.top1 == top1
    assert narrower.kl == pytest.approx(0, abs=1e-6)


LONG = CheckRow("", (1, 2, 3, 0), (), stopped=False, last=3)


@pytest.mark.parametrize(("row", "bad"), [(0, np.nan), (1, np.nan), (1, np.inf), (1, -np.inf)])
def test_a_number_that_is_not_finite_keeps_no_bound(row: int, bad: float) -> None:
    export = [logits(1, 3, 0), logits(1, 3, 0)]
    export[row][1:, 2] = bad
    found = compare_logits([ROW, LONG], [logits(1, 3, 0)] * 2, export, STOP, 0.02)
    assert exact_problem(found, CONFIG) == quantized_problem(found, CONFIG)
    assert exact_problem(found, CONFIG) == "its logits are not finite at 2 of 6 positions"
    assert (found.not_finite, found.kl, found.end_kl) == (2, 0, 0)  # the other numbers are about the rest


def test_a_perplexity_beyond_all_numbers_is_a_large_one() -> None:
    found = compare_logits([ROW], [logits(1, 3, 0)], [logits(1, 2, 0, size=1e4)], STOP, 0.02)
    assert 1e300 < found.perplexity_ratio < math.inf


@settings(max_examples=examples(50))
@given(st.lists(st.lists(st.floats(-20, 20), min_size=4, max_size=4), min_size=6, max_size=6))
def test_the_divergence_is_never_negative(rows: list[list[float]]) -> None:
    one, two = np.array(rows[:3], dtype=np.float32), np.array(rows[3:], dtype=np.float32)
    assert compare_logits([ROW], [one], [two], STOP, 0.02).kl >= -1e-6


def test_what_rows_begin_with_alike_counts_once() -> None:
    other = CheckRow("a prompt", (1, 2), (1,), stopped=False)
    found = compare_logits(
        [ROW, other], [logits(1, 3, 0), logits(1, 3, 0)], [logits(2, 3, 0), logits(2, 3, 0)], STOP, 0.02
    )
    assert (found.positions, found.same) == (4, 3)


@pytest.mark.parametrize(
    ("trained", "export", "answer"),
    [
        ((1, 3, 0), (2, 3, 0), AnswerMatch.same),  # of the prompt nothing is said
        ((1, 3, 0), (1, 2, 0), AnswerMatch.differs),
        ((1, 3, 0), (1, 3, 1), AnswerMatch.differs),
        ((1, 2, 0), (1, 2, 1), AnswerMatch.same),  # the trained weights leave the answer of the model in memory
    ],
)
def test_answers_are_followed_as_far_as_both_say_them(
    trained: tuple[int, ...], export: tuple[int, ...], answer: AnswerMatch
) -> None:
    assert compare_logits([ROW], [logits(*trained)], [logits(*export)], STOP, 0.02).answers == [answer]


def test_an_answer_that_parts_at_a_near_tie_is_distinguished() -> None:
    near = logits(1, 3, 0)
    near[1, 2] = 4.99
    assert compare_logits([ROW], [near], [logits(1, 2, 0)], STOP, 0.02).answers == [AnswerMatch.near]


CONFIG = ParityConfig()


def found(**more: float) -> Agreement:
    """Return what agrees entirely, but for what is given."""
    return Agreement(0.02, positions=100, same=100, end_positions=256, end_tokens=2000, **more)  # type: ignore[arg-type]


def test_what_agrees_keeps_all_bounds() -> None:
    assert exact_problem(found(), CONFIG) == quantized_problem(found(), CONFIG) == ""


def test_the_end_of_the_long_row_has_a_bound_of_its_own() -> None:
    told = exact_problem(found(end_divergence=256 * 0.0021), CONFIG)
    assert told == (
        "KL is 0.0021 at the end of 2,000 tokens, and parity.exact_end_kl=0.001: its positions (rope, sliding window) "
        "are not those of the training"
    )
    rounding = found(divergence=0.1, end_divergence=256 * 0.0006)
    assert exact_problem(found(divergence=0.29, end_divergence=256 * 0.0021), CONFIG, rounding) == ""
    rounding.end_divergence = 256 * 0.0001
    assert "with 0.0001 that rounding to bf16 explains" in exact_problem(
        found(end_divergence=256 * 0.0021), CONFIG, rounding
    )
    assert exact_problem(found(divergence=0.31), CONFIG, rounding) == (
        "KL is 0.0031, and parity.exact_kl=0.001, with 0.001 that rounding to bf16 explains"
    )
    assert quantized_problem(found(end_divergence=256 * 0.2), CONFIG) == ""
    told = quantized_problem(found(end_divergence=256 * 0.26), CONFIG)
    assert told == "kl is 0.26 at the end of 2,000 tokens, and parity.quantized_kl=0.25"


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_quantized_file_has_a_share_of_the_change_where_that_can_be_measured(share: float) -> None:
    assert quantized_problem(found(share=share, share_error=0.02), CONFIG) == (
        f"it has {share:.0%} of the change from the base, and parity.quantized_share=0.8 allows 80% to 125%"
    )
    assert quantized_problem(found(share=1 + (share - 1) / 3, share_error=0.02), CONFIG) == ""
    assert quantized_problem(found(share=0.5, share_error=0.3), CONFIG) == ""
    text = found(share=0.5, share_error=0.3).change_retained_text()
    assert text == "50% of the change from the base (±60%, too little to judge)"
    assert quantized_problem(found(), CONFIG) == ""
    assert exact_problem(found(share=0.5, share_error=0.02), CONFIG) == ""  # exact files have closer bounds


@pytest.mark.parametrize("share", [1.36, 0.5, -0.7])
def test_a_share_of_a_change_below_the_rounding_is_not_judged_and_its_weights_are(share: float) -> None:
    honest = {"share": share, "share_error": 0.05, "rounding": 1.9, "source_share_error": 0.0}
    assert quantized_problem(found(**honest, source_share=1.0), CONFIG) == ""
    assert found(**honest, source_share=1.0).change_retained_text() == (
        "training changed the answers less than this quantization does (53% of it), so the share that the file has of "
        "the change cannot be measured; its weights before the quantization have 100%"
    )
    for wrong in (0.0, 0.5, 1.5, 2.0):  # the base, half of the adapter, an adapter that is merged twice
        assert quantized_problem(found(**honest, source_share=wrong), CONFIG) == (
            f"the weights that it is made from have {wrong:.0%} of the change from the base, and "
            "parity.quantized_share=0.8 allows 80% to 125%"
        )


def test_a_change_above_the_rounding_is_judged_by_the_file_itself() -> None:
    half = found(share=0.5, share_error=0.02, rounding=0.99, source_share=1.0, source_share_error=0.0)
    assert quantized_problem(half, CONFIG).startswith("it has 50% of the change from the base, and parity.quant")
    unknown = found(share=0.5, share_error=0.02, rounding=5.0)  # without the weights nothing else can be judged
    assert quantized_problem(unknown, CONFIG).startswith("it has 50% of the change from the base, and parity.quant")
