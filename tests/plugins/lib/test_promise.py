"""lib/promise.py: a threshold keeps its promise, and without evidence there is none."""

from __future__ import annotations

import numpy as np
import pytest

from framework_plugins.lib.promise import answers_needed, error_bound, safe_threshold


def test_the_bound_is_clopper_and_pearsons() -> None:
    assert error_bound(0, 59, 0.95) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-6)
    assert answers_needed(0.05, 0.95) == 59
    assert error_bound(1, 10, 0.95) == pytest.approx(0.3942, abs=1e-4)
    assert error_bound(5, 100, 0.975) == pytest.approx(0.1128, abs=1e-4)
    assert error_bound(3, 3, 0.95) == 1.0


def test_answers_without_an_error_are_all_kept() -> None:
    assert safe_threshold(np.linspace(0, 1, 200), np.zeros(200, bool), 0.05, 0.95) == 0


def test_the_threshold_leaves_out_where_errors_begin() -> None:
    sure, wrong = np.linspace(0, 1, 1000), np.arange(1000) < 300
    threshold = safe_threshold(sure, wrong, 0.05, 0.95)
    assert threshold is not None
    assert 0.25 < threshold < 0.35


@pytest.mark.parametrize(("total", "wrong"), [(58, 0), (500, 500)])
def test_nothing_is_promised_by_few_or_wrong_answers(total: int, wrong: int) -> None:
    assert safe_threshold(np.linspace(0, 1, total), np.arange(total) >= total - wrong, 0.05, 0.95) is None
