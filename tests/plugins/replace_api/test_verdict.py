"""replace_api/verdict.py: three names, the worst slice, and a router that keeps its promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import replace_api as benchmark
from framework_plugins.replace_api.verdict import Compared, Name, Terms, judge, points, route, worst_slice


def requests(wrong: int, total: int, *, logged_wrong: int = 0, per_cluster: int = 1) -> list[Compared]:
    """Return requests of which the first ones are wrong, the surest last."""
    return [
        Compared(
            f"logs.jsonl:{number}", f"question {number}", "yes", "no", float(number >= wrong),
            float(number < total - logged_wrong), (number + 1) / total, number // per_cluster,
        )
        for number in range(total)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "total", "name"),
    [
        (0, 100, Name.not_worse),
        (20, 1000, Name.not_worse),
        (5, 100, Name.undecided),
        (0, 40, Name.undecided),
        (150, 1000, Name.worse),
    ],
)
def test_the_interval_decides_at_the_margin(wrong: int, total: int, name: Name) -> None:
    verdict = judge(requests(wrong, total), Terms(margin=0.05))
    assert verdict.name is name
    assert verdict.low <= wrong / total <= verdict.high
    assert bool(verdict.more) is (name is Name.undecided)


def test_an_api_that_contradicts_itself_is_no_standard_that_it_does_not_meet() -> None:
    assert judge(requests(80, 1000, logged_wrong=80), Terms()).name is Name.not_worse
    assert judge(requests(80, 1000), Terms()).name is Name.worse


def test_dependent_requests_count_as_one() -> None:
    alone, together = (judge(requests(20, 1000, per_cluster=size), Terms()) for size in (1, 20))
    assert (together.clusters, together.requests) == (50, 1000)
    assert together.high > alone.high


def test_dependent_requests_that_are_all_worse_do_not_make_the_loss_certain() -> None:
    verdict = judge(requests(6, 120, per_cluster=3), Terms())
    assert verdict.name is Name.undecided
    assert verdict.low < 0.03
    assert 1000 < verdict.more < 100_000


def test_an_answer_without_a_score_counts_against_the_model() -> None:
    scored = requests(0, 100)
    missing = [replace(request, score=None) if index < 20 else request for index, request in enumerate(scored)]
    verdict = judge(missing, Terms())
    assert verdict.name is not Name.not_worse
    assert verdict.model == pytest.approx(0.8)


@pytest.mark.parametrize("fall", benchmark.FALLS)
def test_models_of_known_quality_are_named_rightly(fall: float) -> None:
    names = benchmark.named(1.0, fall, 1500, 0.05, np.random.default_rng(1), 10)
    expected = Name.worse if fall > 0.05 else Name.not_worse
    assert names.count(expected) >= 9


def test_a_model_worse_by_the_margin_is_hardly_called_not_worse() -> None:
    assert benchmark.named(1.0, 0.05, 400, 0.05, np.random.default_rng(1)).count(Name.not_worse) <= 2


def sliced(values: dict[str, tuple[int, int]]) -> list[Compared]:
    return [
        replace(request, slices={"tool": tool})
        for tool, (wrong, total) in values.items()
        for request in requests(wrong, total)
    ]


def test_the_slice_that_is_certainly_worse_is_named() -> None:
    worst = worst_slice(sliced({"refund": (30, 40), "search": (2, 200)}), 0.95)
    assert worst is not None
    assert (worst.kind, worst.value, worst.requests, worst.certain) == ("tool", "refund", 40, True)
    assert worst.shortfall == pytest.approx(0.75)


def test_a_slice_that_is_lower_by_chance_is_not_certain() -> None:
    worst = worst_slice(sliced({"refund": (3, 40), "search": (10, 200)}), 0.95)
    assert worst is not None
    assert (worst.value, worst.certain) == ("refund", False)


def test_few_requests_are_no_slice() -> None:
    assert worst_slice(sliced({"refund": (3, 5)}), 0.95) is None


def test_the_router_keeps_what_the_model_is_sure_of() -> None:
    router = route(requests(200, 1000), Terms(max_error=0.05))
    assert router.threshold is not None
    assert 0.7 < router.answered < 0.85
    assert router.wrong <= 0.05


@pytest.mark.parametrize(("wrong", "total", "reason"), [(0, 50, "it takes 59"), (300, 300, "surest answers are worse")])
def test_a_router_that_can_promise_nothing_says_why(wrong: int, total: int, reason: str) -> None:
    router = route(requests(wrong, total), Terms())
    assert (router.threshold, router.answered) == (None, 0.0)
    assert reason in router.reason


def test_points_are_counted() -> None:
    assert [points(share) for share in (0.05, 0.01, 0.025)] == ["5 points", "1 point", "2.5 points"]
