"""parity/change_retained.py: how much of the change from the base an export has."""

from __future__ import annotations

import numpy as np
import pytest

from framework_plugins.exports.parity.agreement import Logits
from framework_plugins.exports.parity.change_retained import answer_logits, change_retained, rounding_size
from framework_plugins.exports.parity.check_rows import CheckRow

ROWS = [CheckRow("", (1, 2), tuple(range(6)), stopped=True) for _ in range(12)]
LONG = CheckRow("", (1, 2, 3), (), stopped=False, last=2)


def drawn(seed: int, size: float) -> list[Logits]:
    """Return logits of the answers of all rows, of forty tokens."""
    random = np.random.default_rng(seed)
    return [random.normal(0, size, (7, 40)).astype(np.float32) for _ in ROWS]


BASE, CHANGE = drawn(0, 3.0), drawn(1, 2.0)
TRAINED = [b + d for b, d in zip(BASE, CHANGE, strict=True)]


def exported(scale: float, noise: float = 0.0) -> list[Logits]:
    """Return what an export with a part of the change and noise of a quantization gives; a constant says nothing."""
    parts = zip(BASE, CHANGE, drawn(2, noise), strict=True)
    return [b + np.float32(scale) * d + n + 7 for b, d, n in parts]


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.3])
def test_without_noise_it_is_the_scale_of_the_change(scale: float) -> None:
    found = change_retained(ROWS, BASE, TRAINED, exported(scale))
    assert found == pytest.approx((scale, 0), abs=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_noise_of_a_quantization_makes_it_uncertain_and_not_smaller(scale: float) -> None:
    found = change_retained(ROWS, BASE, TRAINED, exported(scale, noise=1.0))
    assert found is not None
    share, error = found
    assert 0.005 < error < 0.1
    assert abs(share - scale) < 3 * error


def test_probabilities_near_one_do_not_hide_half_of_the_change() -> None:
    """A token of an answer: the base says another one, and half of the change is enough for nearly all of it."""
    base, change = np.zeros((2, 40), np.float32), np.zeros((2, 40), np.float32)
    base[:, 0], change[:, 1] = 12, 40
    rows = [CheckRow("", (1,), (1,), stopped=True)] * 2
    half = base + change / np.float32(2)
    assert np.exp(half[0, 1]) / np.exp(half[0]).sum() > 0.999
    found = change_retained(rows, [base] * 2, [base + change] * 2, [half] * 2)
    assert found is not None
    assert found[0] == pytest.approx(0.5, abs=0.01)


def test_a_long_row_an_open_end_and_added_tokens_are_left_out() -> None:
    open_end = [CheckRow("", (1, 2), tuple(range(6)), stopped=False)] * len(ROWS)
    export = exported(1.0)
    for each in export:
        each[-1] = 0  # behind an answer that was cut
    wider = [np.concatenate([each, np.full((7, 3), 9, np.float32)], axis=1) for each in TRAINED]
    assert change_retained([*open_end, LONG], BASE, wider, export) == pytest.approx((1, 0), abs=1e-5)
    assert answer_logits(ROWS[0], np.arange(8, dtype=np.float32)[:, None]).tolist() == [[n] for n in range(1, 8)]


def test_nothing_is_measured_where_nothing_changed_or_of_one_row() -> None:
    assert change_retained(ROWS, BASE, BASE, TRAINED) is None
    assert change_retained(ROWS[:1], BASE[:1], TRAINED[:1], TRAINED[:1]) is None


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_size_of_a_rounding_is_that_of_the_quantization_whatever_the_weights_are(scale: float) -> None:
    source, export = exported(scale), exported(scale, noise=1.0)
    assert rounding_size(ROWS, BASE, TRAINED, source, export) == pytest.approx(0.4, abs=0.02)
    assert rounding_size(ROWS, BASE, TRAINED, source, source) == pytest.approx(0, abs=1e-5)
    assert rounding_size(ROWS, BASE, BASE, source, export) == 0


def test_noise_that_all_rows_share_moves_the_share_and_not_its_error() -> None:
    """As rounding moves the same token in each row: the jackknife does not see it, the size of the rounding does."""
    small = [b + np.float32(0.01) for b in BASE]
    for logits in small:
        logits[:, 3] += 0.02
    shifted = [logits.copy() for logits in small]
    for logits in shifted:
        logits[:, 3] += 0.05
        logits[:, 5] -= 0.1
    found = change_retained(ROWS, BASE, small, shifted)
    assert found is not None
    share, error = found
    assert share > 2
    assert error < 0.3
    assert rounding_size(ROWS, BASE, small, small, shifted) > share - 1
