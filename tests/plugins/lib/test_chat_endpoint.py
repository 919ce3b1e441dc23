"""The endpoint of a judge: what is retried, what is not, and how many requests are sent."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from framework.api.records import Scores
from framework_plugins.evals.config import JudgeConfig
from framework_plugins.evals.metrics.judge import Judge
from framework_plugins.lib import chat_endpoint
from tests.support.judge import Grade, JudgeStandIn, Reply, asked_about, closed_port
from tests.support.judged import answers, judged


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "BACKOFF_SECONDS", 0.01)


def failing(times: int, status: int, **more: Any) -> Grade:
    """Fail `times` times, then grade."""
    left = [times]
    lock = threading.Lock()

    def grade(_: str) -> str | Reply:
        with lock:
            left[0] -= 1
            return Reply(status, b'{"error": "busy"}', **more) if left[0] >= 0 else "10"

    return grade


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    scores, server = judged(failing(2, status), "Lima", retries=2)
    assert scores == Scores([10.0])
    assert len(server.requests) == 3


def test_after_the_last_try_the_answer_has_no_score() -> None:
    scores, server = judged(failing(2, 500), "Lima", retries=1)
    assert (scores.items, len(server.requests)) == ([None], 2)
    assert 'did not reply (HTTP 500 Internal Server Error: {"error": "busy"}): 1 of 1' in scores.notes[0]


def test_a_server_may_say_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "BACKOFF_SECONDS", 60)
    monkeypatch.setattr(chat_endpoint, "MAX_WAIT_SECONDS", 0.3)
    start = time.monotonic()
    scores, _ = judged(failing(1, 429, headers={"Retry-After": "3600"}), "Lima", retries=1)
    assert scores == Scores([10.0])
    assert 0.3 <= time.monotonic() - start < 10


@pytest.mark.parametrize(("status", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found")])
def test_what_all_would_be_asked_is_asked_once(status: int, reason: str) -> None:
    scores, server = judged(lambda _: Reply(status, b"no such model"), *map(str, range(9)), retries=3, concurrency=1)
    assert (scores.items, len(server.requests)) == ([None] * 9, 1)
    assert f"(HTTP {status} {reason}: no such model): 9 of 9 answers have no score" in scores.notes[0]


def test_a_redirect_is_not_followed() -> None:
    with JudgeStandIn(lambda _: "10") as other:
        to_other = Reply(307, headers={"Location": f"{other.url}/chat/completions"})
        scores, server = judged(lambda _: to_other, *map(str, range(9)), concurrency=1)
    assert (scores.items, len(server.requests), other.requests) == ([None] * 9, 1, [])
    assert "(HTTP 307: redirects are not followed; give the final address): 9 of 9" in scores.notes[0]


def test_after_three_failures_in_a_row_nobody_is_asked_any_more() -> None:
    scores, server = judged(lambda _: Reply(500), *map(str, range(20)), concurrency=1)
    assert (scores.items, len(server.requests)) == ([None] * 20, 3)
    assert "20 of 20 answers have no score" in scores.notes[0]


def test_failures_between_grades_do_not_end_it() -> None:
    scores, server = judged(
        lambda text: Reply(500) if int(asked_about(text)) % 3 else "10", *map(str, range(9)), concurrency=1
    )
    assert scores.items == [10.0, None, None] * 3
    assert len(server.requests) == 9


@pytest.mark.parametrize("slow", [Reply(wait=5), Reply(body=b"x" * 1000, drip=0.05)], ids=["silent", "dripping"])
def test_a_reply_that_takes_too_long_is_given_up(slow: Reply) -> None:
    start = time.monotonic()
    scores, _ = judged(lambda _: slow, "Lima", timeout=0.3)
    assert time.monotonic() - start < 3
    assert scores.items == [None]
    assert "did not reply (no reply within 0.3 s): 1 of 1 answers have no score" in scores.notes[0]


def test_a_reply_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "MAX_REPLY_BYTES", 1 << 20)
    scores, _ = judged(lambda _: Reply(body=b"x" * (3 << 20)), "Lima")
    assert "did not reply (the reply is longer than 1 MiB)" in scores.notes[0]


def test_a_judge_that_is_down_is_named_and_asked_no_more() -> None:
    metric = Judge(JudgeConfig(f"http://127.0.0.1:{closed_port()}/v1", "tiny", retries=1))
    start = time.monotonic()
    scores = metric.score_all(answers(*map(str, range(100))))
    assert time.monotonic() - start < 5
    assert scores.items == [None] * 100
    assert "did not reply (ConnectError: [Errno 111] Connection refused): 100 of 100 answers" in scores.notes[0]


def test_a_host_that_nobody_knows_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    scores = Judge(JudgeConfig("http://judge.invalid/v1", "tiny", retries=0)).score_all(answers("Lima"))
    assert scores.notes[0].startswith("tiny at http://judge.invalid did not reply (ConnectError: ")


def test_a_proxy_is_not_asked_for_a_judge_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert judged(lambda _: "10", "Lima")[0] == Scores([10.0])


@pytest.mark.parametrize("concurrency", [1, 4])
def test_so_many_are_asked_at_a_time(concurrency: int) -> None:
    def grade(_: str) -> str | Reply:
        time.sleep(0.1)
        return "10"

    scores, server = judged(grade, *map(str, range(8)), concurrency=concurrency)
    assert scores.items == [10.0] * 8
    assert server.busiest == concurrency


def test_ctrl_c_ends_it_soon() -> None:
    def grade(_: str) -> str | Reply:
        raise_in_main.set()
        return Reply(wait=0.3)

    raise_in_main = threading.Event()
    with JudgeStandIn(grade) as server:
        endpoint = chat_endpoint.ChatEndpoint(server.url, "tiny", key="", timeout=30, retries=5, request_fields={})
        with pytest.raises(KeyboardInterrupt), endpoint:
            endpoint.ask_all(_interrupted(raise_in_main), 2)
    assert len(server.requests) <= 2


class _Interrupted(list[str]):
    """Texts of which the third is never reached: the user presses Ctrl-C while two are under way."""

    def __init__(self, started: threading.Event) -> None:
        super().__init__(["1", "2"])
        self.started = started

    def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204 - as the base
        yield from super().__iter__()
        self.started.wait(5)
        raise KeyboardInterrupt


def _interrupted(started: threading.Event) -> list[str]:
    return _Interrupted(started)


def test_control_characters_of_what_a_judge_says_are_spelled_out() -> None:
    scores, _ = judged(lambda _: Reply(403, b"\x1b]0;owned\x07 no \xc2\x9b31m"), "Lima")
    assert r"\x1b]0;owned\x07 no \x9b31m" in scores.notes[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>Sign in</html>", "the reply is not JSON: <html>Sign in</html>"),
        (b'{"choices": []}', "the reply is not a chat completion: "),
        (b'[{"choices": 1}]', "the reply is not a chat completion: "),
        (b'{"choices": [{"message": null}]}', "the reply is half a chat completion: "),
    ],
)
def test_what_is_no_chat_completion_is_shown(body: bytes, reason: str) -> None:
    with (
        JudgeStandIn(lambda _: Reply(body=body)) as server,
        chat_endpoint.ChatEndpoint(server.url, "tiny", key="", timeout=30, retries=0, request_fields={}) as endpoint,
        pytest.raises(chat_endpoint.NoReplyError, match=f"^{re.escape(reason)}"),
    ):
        endpoint.chat([{"role": "user", "content": "Lima"}])
