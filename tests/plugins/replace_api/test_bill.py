"""replace_api/bill.py: arithmetic by hand, and no price that nobody gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from framework_plugins.replace_api.bill import Bill, Usage, make_bill, usage_of
from framework_plugins.replace_api.exports import LoggedCall
from framework_plugins.replace_api.verdict import Router, Terms

ALL, HALF, NONE = Router(0.1, 1.0, 0.0, 0.05), Router(0.1, 0.5, 0.0, 0.05), Router(None, 0.0, 0.0, 0.05)
PRICES = Terms(input_price=2.0, cached_price=1.0, output_price=10.0, price_per_hour=0.9)


def call(**values: Any) -> LoggedCall:
    return LoggedCall("api", [], [], [], **values)


def usage(*calls: LoggedCall) -> Usage:
    return usage_of(calls, seconds=0.2, alone=0.5, model_tokens=60, training=1800, machine="a card")


def bill_of(calls: Sequence[LoggedCall], router: Router = ALL) -> Bill:
    return make_bill(usage(*calls), router, PRICES, alone=False)


CALLS = call(input_tokens=1000, cached_tokens=500, output_tokens=100, seconds=1.0), call(seconds=3.0)


def test_the_costs_are_those_worked_out_by_hand() -> None:
    bill = bill_of(CALLS)
    # 500 tokens at 2 and 500 at 1 and 100 at 10 a million, a thousand times; 200 seconds of an hour at 0.9.
    assert bill.api == pytest.approx(2.5)
    assert bill.model == pytest.approx(0.05)
    assert bill.routed == pytest.approx(0.05)
    assert bill.training == pytest.approx(0.45)
    assert bill.break_even == 184  # 0.45 / 0.00245
    assert bill.always_on == 262_800  # 730 hours at 0.9, over 0.0025
    assert bill.capacity == 13_140_000


def test_a_router_pays_for_both() -> None:
    assert bill_of(CALLS, HALF).routed == pytest.approx(1.3)
    assert bill_of(CALLS, NONE).routed == bill_of(CALLS, NONE).api
    assert bill_of(CALLS, NONE).break_even is None


def test_calls_without_tokens_are_not_guessed_and_are_named() -> None:
    bill = bill_of(CALLS)
    assert "the mean of 1 of 2 logged calls" in bill.assumptions[0]
    nothing = bill_of([call(), call()])
    assert nothing.api is nothing.routed is nothing.break_even is None
    assert "give logs with token counts" in nothing.assumptions[0]


def test_costs_in_the_logs_stand_in_for_prices() -> None:
    priced = usage(call(cost=0.002), call(cost=0.004))
    assert make_bill(priced, ALL, Terms(), alone=True).api == pytest.approx(3.0)


def test_a_price_that_is_missing_is_said() -> None:
    bill = make_bill(usage(*CALLS), ALL, Terms(), alone=True)
    assert bill.api is bill.model is bill.routed is bill.training is bill.break_even is bill.always_on is None
    text = "\n".join(bill.assumptions)
    assert "give evaluator.replace_api.input_price and evaluator.replace_api.output_price" in text
    assert "give plan.price_per_hour" in text


def test_latency_is_the_median_and_the_slowest_twentieth() -> None:
    timed = usage(*(call(seconds=float(number)) for number in range(1, 101)))
    assert (timed.median, timed.slowest, timed.timed) == (51.0, 95.0, 100)
    assert usage(call()).timed == 0
