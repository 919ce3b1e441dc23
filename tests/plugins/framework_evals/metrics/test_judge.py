"""The judge against a server on loopback: good replies, nonsense, errors, silence; and where its key goes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework import pipeline, records, testing
from framework.records import Answered, EvalResult, Report, Scores
from framework.schema import Stage
from framework_evals import chat_endpoint
from framework_evals.config import JudgeConfig
from framework_evals.metrics.judge import Judge
from tests.support.judge import JudgeStandIn, Reply, asked_about, said

KEY = "correct-horse-battery-staple-31415"
Grade = Callable[[str], str | Reply]


def answers(*texts: str, reference: str | None = None) -> list[Answered]:
    return [Answered("Capital of Peru?", text, reference, 1, stopped=True) for text in texts]


def judged(grade: Grade, *texts: str, **settings: Any) -> tuple[Scores, JudgeStandIn]:
    with JudgeStandIn(grade) as server:
        metric = Judge(JudgeConfig(server.url, "tiny", **{"retries": 0, **settings}))
        return metric.score_all(answers(*texts)), server


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "BACKOFF", 0.01)


def test_grades_come_in_the_order_of_the_answers() -> None:
    scores, server = judged(lambda text: {"Lima": "10", "Quito": "1", "Lima?": "7"}[asked_about(text)], "Lima", "Quito", "Lima?")
    assert scores == Scores([10.0, 1.0, 7.0])
    assert server.paths == ["/v1/chat/completions"] * 3
    request = next(one for one in server.requests if asked_about(one["messages"][0]["content"]) == "Lima")
    assert (request["model"], request["temperature"]) == ("tiny", 0)
    assert request["messages"][0]["content"].count("Capital of Peru?") == 1
    assert not any("Authorization" in headers for headers in server.headers)


def test_more_fields_of_the_request_and_a_whole_address_are_taken() -> None:
    with JudgeStandIn(lambda _: "0.5") as server:
        settings = JudgeConfig(f"{server.url}/chat/completions", "tiny", "{answer}", 0, 1, request={"max_tokens": 4})
        assert Judge(settings).score_all(answers("Lima")) == Scores([0.5])
    assert server.requests[0] == {"model": "tiny", "temperature": 0, "max_tokens": 4, "messages": [{"role": "user", "content": "Lima"}]}
    assert server.paths == ["/v1/chat/completions"]


def test_an_answer_is_graded_once_however_often_it_comes() -> None:
    with JudgeStandIn(lambda _: "5") as server:
        metric = Judge(JudgeConfig(server.url, "tiny"))
        first = metric.score_all(answers("Lima", "Lima", "Quito"))
        assert metric.score_all(answers("Quito", "Lima")).items == first.items[:2]
    assert len(server.requests) == 2


def test_nonsense_has_no_score_and_is_shown() -> None:
    scores, _ = judged(lambda text: "9" if asked_about(text) == "Lima" else "I like it", "Lima", "Quito", "No")
    assert scores.items == [9.0, None, None]
    (note,) = scores.notes
    assert note.startswith("tiny at http://127.0.0.1:")
    assert note.endswith(
        "did not reply with one number from 1 to 10, but 'I like it' to the answer 'Quito': 2 of 3 answers have no score"
    )


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>hello</html>"),
        Reply(body=b'{"choices": []}'),
        Reply(body=b'{"error": "overloaded"}'),
        Reply(body=b"[" * 100_000),
        Reply(body=b"\xff\xfe"),
    ],
    ids=lambda reply: str(reply.body[:20]),
)
def test_what_is_no_chat_completion_has_no_score(reply: Reply) -> None:
    scores, _ = judged(lambda _: reply, "Lima")
    assert scores.items == [None]
    assert "did not reply (what it sends is no chat completion: " in scores.notes[0]
    assert scores.notes[0].endswith("1 of 1 answers have no score")


@pytest.mark.parametrize("content", [None, [{"type": "text", "text": "5"}], 5])
def test_a_completion_without_text_is_no_grade(content: object) -> None:
    scores, _ = judged(lambda _: said(content), "Lima")
    assert scores.items == [None]
    assert "but '' to the answer 'Lima'" in scores.notes[0]


def failing(times: int, status: int, **more: Any) -> Grade:
    """Fail so many times, then grade."""
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
    assert "did not reply (HTTP 500 Internal Server Error: {\"error\": \"busy\"}): 1 of 1" in scores.notes[0]


def test_a_server_may_say_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "BACKOFF", 60)
    monkeypatch.setattr(chat_endpoint, "LONGEST_WAIT", 0.3)
    start = time.monotonic()
    scores, _ = judged(failing(1, 429, headers={"Retry-After": "3600"}), "Lima", retries=1)
    assert scores == Scores([10.0])
    assert 0.3 <= time.monotonic() - start < 10


@pytest.mark.parametrize(("status", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found")])
def test_what_all_would_be_told_is_asked_once(status: int, reason: str) -> None:
    scores, server = judged(
        lambda _: Reply(status, b"no such model"), *map(str, range(9)), retries=3, concurrency=1
    )
    assert (scores.items, len(server.requests)) == ([None] * 9, 1)
    assert f"(HTTP {status} {reason}: no such model): 9 of 9 answers have no score" in scores.notes[0]


def test_a_redirect_is_not_followed() -> None:
    with JudgeStandIn(lambda _: "10") as other:
        to_other = Reply(307, headers={"Location": f"{other.url}/chat/completions"})
        scores, server = judged(lambda _: to_other, *map(str, range(9)), concurrency=1)
    assert (scores.items, len(server.requests), other.requests) == ([None] * 9, 1, [])
    assert "(HTTP 307: it redirects, which is not followed; give the address where it is): 9 of 9" in scores.notes[0]


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
    monkeypatch.setattr(chat_endpoint, "LARGEST", 1 << 20)
    scores, _ = judged(lambda _: Reply(body=b"x" * (3 << 20)), "Lima")
    assert "did not reply (the reply is longer than 1 MiB)" in scores.notes[0]


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


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
        endpoint = chat_endpoint.ChatEndpoint(server.url, "tiny", key="", timeout=30, retries=5, more={})
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


@pytest.mark.parametrize("variable", ["JUDGE_API_KEY", "JUDGE"])
def test_the_key_goes_to_the_judge_and_nowhere_else(
    variable: str,
    tmp_path: Path,
    rows: list[dict[str, str]],
    write_rows: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server even sends it back, in a refusal and in a reply."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, f"{KEY}\n")
    caplog.set_level("DEBUG")
    calls = iter(range(1000))

    def grade(_: str) -> str | Reply:
        number = next(calls)
        if number == 0:
            return f"my key is {KEY}"
        return Reply(400, f"Bearer {KEY} is not welcome".encode()) if number == 1 else "7"

    with JudgeStandIn(grade) as server:
        judge = [f"metric.judge.base_url={server.url}", "metric.judge.model=tiny", f"metric.judge.key_env={variable}"]
        words = ["data=local_file", f"data.path={write_rows(rows)}", "metric=[exact_match,judge]", *judge]
        plan = testing.plan(
            [*words, "logger=[console,jsonl,html]", "metric.judge.concurrency=1", "data.validation_split=0.3"],
            run_dir=tmp_path / "run",
        )
        pipeline.run(plan)
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    shown = capfd.readouterr()
    assert "metric 'judge': tiny at http://127.0.0.1:" in shown.out
    assert KEY not in shown.out + shown.err + caplog.text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    result = records.load(EvalResult, plan.run_dir / f"{Stage.baseline.value}.json")
    assert sorted(note.partition(" (")[0].partition(" at ")[0] for note in result.notes) == ["metric 'judge': tiny"] * 2
    assert any("(hidden)" in note for note in result.notes)
    assert {"judge", "exact_match"} <= set(result.measures)


def test_a_judge_that_is_down_does_not_end_the_run(
    tmp_path: Path, rows: list[dict[str, str]], write_rows: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    judge = [f"metric.judge.base_url=http://127.0.0.1:{closed_port()}/v1", "metric.judge.model=tiny"]
    words = ["data=local_file", f"data.path={write_rows(rows)}", "metric=[judge,exact_match]", "logger=[console]"]
    plan = testing.plan([*words, *judge], run_dir=tmp_path / "run")
    report = pipeline.run(plan)
    assert report is not None
    assert "judge" not in report.metrics
    assert report.metrics["exact_match"].after is not None
    assert records.load(Report, plan.run_dir / "report.json").metrics.keys() == report.metrics.keys()
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("warning: metric 'judge': tiny at http://127.0.0.1:") == 1  # of both evaluations
