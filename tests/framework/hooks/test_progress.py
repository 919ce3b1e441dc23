"""What is counted is sent when it begins, now and then, and when it is complete; each count knows its part."""

from __future__ import annotations

import time

import pytest

from framework.api.records import Progress
from framework.hooks.progress import REPORT_SECONDS, Reporter


@pytest.fixture
def sent() -> list[Progress]:
    return []


@pytest.fixture
def reporter(sent: list[Progress]) -> Reporter:
    reporter = Reporter()
    reporter.send = sent.append
    return reporter


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what holds the time, to be moved."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_short_count_is_sent_at_its_begin_and_its_end_alone(reporter: Reporter, sent: list[Progress]) -> None:
    with reporter.counting(60, "prompt") as counter:
        for _ in range(60):
            counter.advance()
    assert [(each.done, each.total, each.unit) for each in sent] == [(0, 60, "prompt"), (60, 60, "prompt")]


def test_a_long_count_is_sent_in_between(reporter: Reporter, sent: list[Progress], now: list[float]) -> None:
    with reporter.counting(4, "row") as counter:
        for _ in range(4):
            now[0] += REPORT_SECONDS
            assert counter.is_due
            counter.advance()
            assert not counter.is_due
    assert [(each.done, each.seconds) for each in sent] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (4, 4)]
    assert [each.seconds_left for each in sent[:4]] == [None, 3, 2, 1]


def test_the_time_left_does_not_grow_while_a_batch_is_in_work(
    reporter: Reporter, sent: list[Progress], now: list[float]
) -> None:
    with reporter.counting(60, "prompt") as counter:
        for done in (0, 30, 30, 30, 30, 60):
            now[0] += 10
            counter.move(done)
    assert [each.seconds_left for each in sent] == [None, None, 20, 10, 0, None, 0, 0]


def test_the_time_left_follows_the_share_where_units_are_worked_on_together(
    reporter: Reporter, sent: list[Progress], now: list[float]
) -> None:
    with reporter.counting(60, "prompt") as counter:
        now[0] += 10
        counter.move(0, "token 16 of at most 64", 0.25)
    assert [(each.line, each.seconds_left) for each in sent] == [
        ("prompt 0 of 60", None),
        ("prompt 0 of 60, token 16 of at most 64", 30),
        ("prompt 60 of 60", 0),
    ]


def test_a_count_that_fails_is_never_said_to_be_complete(reporter: Reporter, sent: list[Progress]) -> None:
    with pytest.raises(LookupError), reporter.counting(2, "row"):
        raise LookupError
    assert [each.done for each in sent] == [0]


def test_a_count_without_a_total_ends_with_what_was_counted(reporter: Reporter, sent: list[Progress]) -> None:
    with reporter.counting(None, "", "the conversion"):
        pass
    assert [(each.done, each.total, each.line) for each in sent] == [
        (0, None, "the conversion"),
        (0, 0, "the conversion"),
    ]


def test_a_count_belongs_to_the_part_that_is_under_way(reporter: Reporter, sent: list[Progress]) -> None:
    with reporter.part("prompts", 2, 4, "measure"):
        with reporter.counting(60, "prompt") as counter:
            counter.move(7)
        with reporter.counting(9, "reply", "judge"):
            pass
    with reporter.counting(3, "row"):
        pass
    assert [each.line for each in sent] == [
        "prompts: prompt 0 of 60, measure 2 of 4",
        "prompts: prompt 60 of 60, measure 2 of 4",
        "prompts: judge: reply 0 of 9, measure 2 of 4",
        "prompts: judge: reply 9 of 9, measure 2 of 4",
        "row 0 of 3",
        "row 3 of 3",
    ]


def test_where_nobody_listens_nothing_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    with Reporter().counting(3, "row") as counter:
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        assert not counter.is_due
