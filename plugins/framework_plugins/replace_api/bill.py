"""What a thousand requests cost at the API, on this machine, and with the router: arithmetic on what was measured.

A price that nobody gave is not guessed: what depends on it stays unknown, and the assumptions name the setting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from framework.api import count
from framework_plugins.replace_api.exports import LoggedCall
from framework_plugins.replace_api.verdict import Router, Terms

THOUSAND, MILLION, HOUR = 1000, 1e6, 3600
MONTH_HOURS = 730
SETTINGS = "evaluator.replace_api"


@dataclass(frozen=True)
class Usage:
    """What the logs say of the API, and what was measured of the model. Tokens and seconds are means of a call.

    Attributes:
        calls: in the logs, those that were asked again too.
        counted: how many of them have their tokens.
        input_tokens: cached ones included.
        cached_tokens: those in the API's cache.
        output_tokens: of answers.
        priced: how many calls have a cost in the logs.
        cost: the mean of those.
        timed: how many calls have a time.
        median: seconds of the API.
        slowest: seconds that one call in twenty takes at least.
        seconds: of the model, many requests at a time.
        alone: of the model, one request at a time.
        model_tokens: of the model for a request and its answer.
        training: seconds of the training.
        machine: where the model was measured.
    """

    calls: int
    counted: int
    input_tokens: float
    cached_tokens: float
    output_tokens: float
    priced: int
    cost: float
    timed: int
    median: float
    slowest: float
    seconds: float
    alone: float
    model_tokens: float
    training: float
    machine: str


@dataclass(frozen=True)
class Bill:
    """Costs of a thousand requests, None if a price is missing; all in the currency of the prices.

    `break_even` is after how many requests the training has paid for itself, None if it never does or is unknown:
    with the model alone if that is not worse, else with the router.
    `always_on` is from how many requests a month on a machine that is never switched off costs less than the API, and
    `capacity` how many requests it can answer in that time.
    """

    api: float | None
    model: float | None
    routed: float | None
    training: float | None
    break_even: int | None
    always_on: int | None
    capacity: int
    assumptions: list[str] = field(default_factory=list)


def usage_of(
    calls: Sequence[LoggedCall], *, seconds: float, alone: float, model_tokens: float, training: float, machine: str
) -> Usage:
    """Sum up the calls of the logs, beside what was measured of the model."""
    counted = [call for call in calls if call.input_tokens is not None and call.output_tokens is not None]
    costs = [call.cost for call in calls if call.cost is not None]
    times = sorted(call.seconds for call in calls if call.seconds is not None)

    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values) if values else 0.0

    return Usage(
        calls=len(calls), counted=len(counted),
        input_tokens=mean([call.input_tokens or 0 for call in counted]),
        cached_tokens=mean([call.cached_tokens for call in counted]),
        output_tokens=mean([call.output_tokens or 0 for call in counted]),
        priced=len(costs), cost=mean(costs), timed=len(times),
        median=times[len(times) // 2] if times else 0.0,
        slowest=times[min(len(times) - 1, math.ceil(0.95 * len(times)) - 1)] if times else 0.0,
        seconds=seconds, alone=alone, model_tokens=model_tokens, training=training, machine=machine,
    )  # fmt: skip


def make_bill(usage: Usage, router: Router, terms: Terms, *, alone: bool) -> Bill:
    """Work out the bill; `alone`: the model answers all requests, so that it pays for the training without the API."""
    api, hourly = _api_cost(usage, terms), terms.price_per_hour
    model = None if hourly is None else THOUSAND * usage.seconds / HOUR * hourly
    asked = 0.0 if router.threshold is None else model  # without a threshold nothing goes to the model
    routed = None if api is None or asked is None else asked + (1 - router.answered) * api
    training = None if hourly is None else usage.training / HOUR * hourly
    after = model if alone else routed
    saved = None if api is None or after is None else api - after
    return Bill(
        api, model, routed, training,
        break_even=None if saved is None or saved <= 0 or training is None else math.ceil(THOUSAND * training / saved),
        always_on=None if not api or hourly is None else math.ceil(THOUSAND * MONTH_HOURS * hourly / api),
        capacity=int(MONTH_HOURS * HOUR / usage.seconds) if usage.seconds else 0,
        assumptions=[*_assumptions(usage, terms)],
    )  # fmt: skip


def _api_cost(usage: Usage, terms: Terms) -> float | None:
    """Return what a thousand calls cost at the API; None if nothing says it."""
    if terms.input_price is not None and terms.output_price is not None and usage.counted:
        cached = terms.input_price if terms.cached_price is None else terms.cached_price
        fresh = usage.input_tokens - usage.cached_tokens
        total = fresh * terms.input_price + usage.cached_tokens * cached + usage.output_tokens * terms.output_price
        return THOUSAND * total / MILLION
    return THOUSAND * usage.cost if usage.priced else None


def _assumptions(usage: Usage, terms: Terms) -> Iterator[str]:
    """Say what the bill supposes, and which price is missing."""
    prices = terms.input_price, terms.output_price
    if None not in prices and usage.counted:
        yield (
            f"API: {usage.input_tokens:.0f} tokens in at {terms.input_price:g} and {usage.output_tokens:.0f} out at "
            f"{terms.output_price:g} a million, the mean of {usage.counted} of {count(usage.calls, 'logged call')}"
        )
        if usage.cached_tokens:
            price = "the same price" if terms.cached_price is None else f"{terms.cached_price:g} a million"
            yield f"API: {usage.cached_tokens:.0f} of the tokens in were in its cache, at {price}"
    elif usage.priced:
        yield f"API: the costs in the logs, the mean of {usage.priced} of {count(usage.calls, 'logged call')}"
    else:
        need = f"{SETTINGS}.input_price and {SETTINGS}.output_price" if usage.counted else "logs with token counts"
        yield f"API: its price is not known, and is not guessed: give {need}"
    if terms.price_per_hour is None:
        yield "model: the price of the machine is not known, and is not guessed: give plan.price_per_hour"
    else:
        yield f"model: {usage.machine} at {terms.price_per_hour:g} an hour, paid only while it answers"
    yield (
        f"model: {usage.seconds:.3g} s a request with many at a time, {usage.alone:.3g} s alone, for "
        f"{usage.model_tokens:.0f} tokens in and out, as the evaluation of this run measured it; a server such as vLLM "
        "may take less, another machine more or less"
    )
    yield "router: the model answers first, and the API again for the rest"
    yield "not counted: people's time, the time to put logs together, storage, and a failed machine"
