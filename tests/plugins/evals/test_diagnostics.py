"""evals/diagnostics.py: whether a judge replies, told before a training and not after it."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import pytest

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework.api.plan import Plan
from framework_plugins.evals.diagnostics import judge
from framework_plugins.evals.plugin import framework_diagnostics
from tests.support.judge import JudgeStandIn, Reply, closed_port

KEY = "sk-" + "aB3" * 10


def planned(url: str, *more: str) -> Plan:
    words = ["metric=[judge]", f"metric.judge.base_url={url}", "metric.judge.model=wise", *more]
    return testing.plan(words, run_dir=Path("run"))


def asked(plan: Plan) -> DiagnosticResult:
    found = judge(plan)
    assert found is not None
    return found


def test_a_judge_that_replies_with_a_number() -> None:
    with JudgeStandIn(lambda _: "10") as server:
        found = asked(planned(server.url))
    assert (found.state, found.detail) == (State.ok, f"wise at {server.url.removesuffix('/v1')} replies")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "state", "told"),
    [
        ("How are you?", State.broken, "was asked for a number and replied 'How are you?'"),
        (Reply(HTTPStatus.UNAUTHORIZED, b"no such key"), State.missing, "HTTP 401 Unauthorized: no such key"),
        (Reply(HTTPStatus.SERVICE_UNAVAILABLE, b"later"), State.missing, "HTTP 503 Service Unavailable: later"),
    ],
)
def test_one_that_cannot_be_used(reply: str | Reply, state: State, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with JudgeStandIn(lambda _: reply) as server:
        found = asked(planned(server.url, "metric.judge.key_env=JUDGE_KEY"))
    assert found.state is state
    assert told in found.detail
    assert found.fix
    assert KEY not in f"{found}"
    assert len(server.requests) == 1


def test_one_that_is_not_there() -> None:
    found = asked(planned(f"http://127.0.0.1:{closed_port()}/v1"))
    assert found.state is State.missing
    assert "does not reply" in found.detail
    assert "key_env" in found.fix


def test_it_is_needed_where_a_plan_has_a_judge_and_else_nothing_is_said() -> None:
    (diagnostic,) = framework_diagnostics()
    assert diagnostic.needed(planned("http://127.0.0.1:1/v1"))
    without = testing.plan(["metric=[exact_match]"], run_dir=Path("run"))
    assert not diagnostic.needed(without)
    assert judge(without) is None
    assert judge(None) is None
