"""Whether the model is not worse than the logged answers, where it is worst, and what it can be left alone with.

    verdict = judge(requests, Terms())
    verdict.name, verdict.low, verdict.high

The test is that of `compare`: pairs, dependent requests as one, and the interval that the run's verdict has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import NormalDist, fmean

import numpy as np

from framework.api import Measure, MeasureKind, count, least_share
from framework.api.program import VerdictConfig, compare_systems
from framework_plugins.lib.promise import answers_needed, error_bound, safe_threshold

MEASURE, LOGGED, MODEL = "score", "logged", "model"
LEAST_SLICE = 20
"""Requests of a slice that is named."""
HARDLY = 0.005
"""The nearest that a difference counts as being to the margin, half a point: nobody waits for what is nearer."""
POWER = 0.8
"""How often as many requests as the verdict asks for decide."""


class Name(Enum):
    """What the verdict says."""

    not_worse = "not worse"
    worse = "worse"
    undecided = "cannot tell"


@dataclass(frozen=True)
class Terms:
    """What a decision supposes: settings of the run, or arguments of the command.

    Attributes:
        margin: how many points worse is not worse, as a share.
        confidence: of the interval, and of the router's promise.
        max_error: the router's promise.
        input_price: for a million tokens of requests; None if it is not known.
        cached_price: the same for those in the API's cache; None for the same price.
        output_price: for a million tokens of answers.
        price_per_hour: of the machine that answers.
    """

    margin: float = 0.05
    confidence: float = 0.95
    max_error: float = 0.05
    input_price: float | None = None
    cached_price: float | None = None
    output_price: float | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Compared:
    """A held-out request with both answers.

    Attributes:
        where: the place of its newest call in the logs.
        question: the turns as one text.
        logged: the logged answer.
        answer: the model's.
        score: of the model's answer; None if the metric gave none.
        logged_score: of other answers that the API gave to the same request; 1 if it was asked once.
        probability: that the model gives its own answer.
        cluster: the same for dependent requests.
        slices: what it belongs to by kind: `tool`, `length`, `language`, `topic`.
    """

    where: str
    question: str
    logged: str
    answer: str
    score: float | None
    logged_score: float
    probability: float
    cluster: int
    slices: Mapping[str, str] = field(default_factory=dict)

    @property
    def shortfall(self) -> float:
        """By how much the model's answer is worse; an answer without a score is worst."""
        return self.logged_score - (self.score or 0.0)


@dataclass(frozen=True)
class Slice:
    """The requests that share a property. `certain`: they are worse than all together, whichever slice one picks."""

    kind: str
    value: str
    requests: int
    shortfall: float
    certain: bool


@dataclass(frozen=True)
class Router:
    """Which requests the model answers: those whose answer is at least as probable as `threshold`.

    `answered` is their share, `wrong` the share of them that has a worse answer, and `at_most` what is promised.
    `threshold` is None if nothing can be promised; then all requests go to the API.
    """

    threshold: float | None
    answered: float
    wrong: float
    at_most: float
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """The verdict: by how many points, as shares, the model is worse, with the bounds, and what follows.

    `more` is about how many requests in all would decide; 0 if these do.
    """

    name: Name
    logged: float
    model: float
    low: float
    high: float
    requests: int
    clusters: int
    more: int
    worst: Slice | None
    router: Router


def judge(requests: Sequence[Compared], terms: Terms) -> Verdict:
    """Compare the model's answers with the logged ones.

    Args:
        requests: at least two, with scores from 0 to 1.
        terms: the margin, the confidence and the promise.
    """
    ids = {cluster: number for number, cluster in enumerate({request.cluster for request in requests})}
    clusters = [ids[request.cluster] for request in requests] if len(ids) < len(requests) else []

    def measure(items: Sequence[float | None]) -> Measure:
        value = fmean(item for item in items if item is not None)
        return Measure(value, list(items), higher_is_better=True, kind=MeasureKind.content, clusters=clusters)

    config = VerdictConfig(margin=terms.margin, confidence=terms.confidence)
    sides = {
        LOGGED: {MEASURE: measure([request.logged_score for request in requests])},
        MODEL: {MEASURE: measure([request.score for request in requests])},
    }
    [comparison] = compare_systems(sides, config, against=LOGGED)
    change = comparison.change
    logged, model = fmean(request.logged_score for request in requests), fmean(r.score or 0.0 for r in requests)
    high = 1.0 if change.low is None else -change.low
    low = -1.0 if change.high is None else -change.high
    name = Name.not_worse if high <= terms.margin else Name.worse if low > terms.margin else Name.undecided
    return Verdict(
        name, logged, model, low, high, len(requests), len(ids),
        0 if name is not Name.undecided else _requests_needed(logged - model, high - low, len(requests), terms),
        worst_slice(requests, terms.confidence), route(requests, terms),
    )  # fmt: skip


def _requests_needed(fall: float, width: float, requests: int, terms: Terms) -> int:
    """Return about how many requests decide in four of five cases, if the fall is what it is here."""
    distance = max(abs(terms.margin - fall), HARDLY)
    z = NormalDist().inv_cdf((1 + terms.confidence) / 2)
    error = width / (2 * z) * math.sqrt(requests)
    return math.ceil(((z + NormalDist().inv_cdf(POWER)) * error / distance) ** 2)


def worst_slice(requests: Sequence[Compared], confidence: float) -> Slice | None:
    """Return the slice that is certainly worse than all together, the one furthest from it, or else the lowest."""
    slices = [*_slices(requests)]
    if not slices:
        return None
    share = fmean(request.shortfall > 0 for request in requests)
    level = 1 - (1 - confidence) / len(slices)  # whichever slice turns out to be the worst
    ranked = []
    for kind, value, members in slices:
        worse = sum(request.shortfall > 0 for request in members)
        least = least_share(worse, len(members), level) if worse else 0.0
        shortfall = fmean(request.shortfall for request in members)
        ranked.append((least - share, Slice(kind, value, len(members), shortfall, least > share)))
    certain = [pair for pair in ranked if pair[1].certain]
    lowest = max((part for _, part in ranked), key=lambda part: part.shortfall)
    return max(certain, key=lambda pair: pair[0])[1] if certain else lowest if lowest.shortfall > 0 else None


def _slices(requests: Sequence[Compared]) -> Iterator[tuple[str, str, list[Compared]]]:
    """Give the slices that have enough requests and not all of them."""
    groups: dict[tuple[str, str], list[Compared]] = {}
    for request in requests:
        for kind, value in request.slices.items():
            groups.setdefault((kind, value), []).append(request)
    for (kind, value), members in groups.items():
        if LEAST_SLICE <= len(members) < len(requests):
            yield kind, value, members


def route(requests: Sequence[Compared], terms: Terms) -> Router:
    """Return which requests may be left to the model, by the probability of its own answer."""
    first = [*{request.cluster: request for request in reversed(requests)}.values()]  # the bound is of independent ones
    sure = np.array([request.probability for request in first])
    wrong = np.array([request.shortfall > 0 for request in first])
    threshold = safe_threshold(sure, wrong, terms.max_error, terms.confidence)
    if threshold is None:
        least = answers_needed(terms.max_error, terms.confidence)
        reason = (
            f"it takes {least} different requests, and there are {len(first)}"
            if len(first) < least
            else "more of its surest answers are worse"
        )
        return Router(None, 0.0, 0.0, terms.max_error, reason)
    kept = [request for request in requests if request.probability >= threshold]
    passed = wrong[sure >= threshold]
    return Router(
        threshold, len(kept) / len(requests), fmean(request.shortfall > 0 for request in kept),
        min(terms.max_error, error_bound(int(passed.sum()), len(passed), terms.confidence)),
    )  # fmt: skip


def points(share: float) -> str:
    """Write a difference of shares in points: 2.5 points."""
    return count_of_points(round(100 * share, 1))


def count_of_points(value: float) -> str:
    """Write a number of points."""
    return count(int(value), "point") if value == int(value) else f"{value:.1f} points"
