"""Each of several looks at growing items is judged at a higher confidence."""

import pytest

from framework.api.records import EvalResult, Measure, MeasureKind
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare


def matched(right: int, look_share: float) -> EvalResult:
    items: list[float | None] = [*[1.0] * right, *[0.0] * (20 - right)]
    measure = Measure(right / 20, items, higher_is_better=True, kind=MeasureKind.content, look_share=look_share)
    return EvalResult({"match": measure})


def test_the_p_value_and_the_bounds_hold_for_all_looks_together() -> None:
    once, thrice = (compare(matched(0, share), matched(8, share), VerdictConfig())["match"] for share in (1, 1 / 3))
    assert once.p_value == pytest.approx(2 / 2**8)
    assert thrice.p_value == pytest.approx(1 - (1 - 2 / 2**8) ** 3)
    level = compare(matched(0, 1), matched(8, 1), VerdictConfig(confidence=0.95 ** (1 / 3)))["match"]
    assert (thrice.low, thrice.high) == (level.low, level.high)
    assert once.low is not None
    assert thrice.low is not None
    assert thrice.low < once.low
