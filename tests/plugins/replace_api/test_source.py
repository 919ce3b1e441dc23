"""replace_api/source.py: calls that ask the same are one row, the newest conversations are held out, reasons count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import api_logs
from framework import FrameworkError
from framework.testing import SourceSuite
from framework_plugins.replace_api.config import ApiLogsConfig, Private, Together
from framework_plugins.replace_api.source import ApiLogs, Logs, Request
from framework_plugins.replace_api.turns import Reason
from tests.plugins.replace_api.logged import ANSWER, EXPORTS


def call(asked: str, answer: str, day: int, **change: Any) -> dict[str, Any]:
    system = change.pop("system", "Answer.")
    choice = {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    return {
        "timestamp": f"2026-09-{day:02}T10:00:00Z", "request": {"model": "big-1", "messages": messages},
        "response": {"model": change.pop("model", "big-1"), "choices": [choice]}, **change,
    }  # fmt: skip


def read(folder: Path, *lines: dict[str, Any] | str, **settings: Any) -> Logs:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (folder / "logs.jsonl").write_text(text, encoding="utf-8")
    return ApiLogs(ApiLogsConfig(path=str(folder / "logs.jsonl"), **settings)).read()


def questions(requests: list[Request]) -> list[str]:
    return [request.call.turns[-1]["content"] for request in requests]


DAYS = [call(f"question {day}", f"answer {day}", day, session_id=f"talk {day}") for day in range(1, 11)]


def test_the_newest_are_held_out_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    logs = read(tmp_path, *reversed(DAYS))
    assert questions(logs.held_out) == ["question 9", "question 10"]
    assert len(logs.train) == 8


def test_a_conversation_stays_on_one_side(tmp_path: Path) -> None:
    logs = read(tmp_path, *DAYS, call("an early one", "yes", 1, session_id="talk 10"))
    assert questions(logs.held_out) == ["an early one", "question 10"]


def test_all_calls_of_a_user_stay_on_one_side_if_asked(tmp_path: Path) -> None:
    users = [{**line, "user_id": f"user {number % 5}"} for number, line in enumerate(DAYS)]
    logs = read(tmp_path, *users, together=Together.user)
    assert questions(logs.held_out) == ["question 5", "question 10"]


def test_an_answer_that_was_generated_again_is_one_row_with_the_newest_answer(tmp_path: Path) -> None:
    again = call("question 3", "a better answer", 12, session_id="talk 77")
    logs = read(tmp_path, *DAYS, again, held_out=0.1)
    [request] = logs.held_out
    assert [answer["content"] for answer in request.answers] == ["a better answer", "answer 3"]
    assert request.row().fields["messages"][-1]["content"] == "a better answer"
    assert "10 different requests, 1 of which were asked several times" in logs.notes[0]


def test_a_request_of_another_day_is_the_same_request(tmp_path: Path) -> None:
    dated = [call("question 1", "yes", day, system=f"Today is Monday, 2026-09-{day:02}.") for day in (11, 12)]
    logs = read(tmp_path, *DAYS, *dated)
    assert sum(len(request.calls) == 2 for request in (*logs.train, *logs.held_out)) == 1
    other = [call(f"other {day}", "yes", day, system=f"Today is 2026-09-{day:02}.") for day in (11, 12)]
    assert any("2 system prompts differ in a date only" in note for note in read(tmp_path, *DAYS, *other).notes)


def test_answers_of_two_models_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    mixed = [*DAYS, call("question 11", "no", 11, model="small-1", session_id="talk 11")]
    with pytest.raises(FrameworkError, match=r"2 models: big-1 \(10\), small-1 \(1\)\. Set data\.models=\[big-1\]"):
        read(tmp_path, *mixed)
    logs = read(tmp_path, *mixed, models=["big-1"])
    assert logs.left_out[Reason.other_model] == ["logs.jsonl:11"]
    with pytest.raises(FrameworkError, match=r"data\.models: .*big-2.*big-1"):
        read(tmp_path, *mixed, models=["big-2"])


def test_secrets_and_addresses_are_left_out_by_choice(tmp_path: Path) -> None:
    lines = [
        *DAYS,
        call("my key is sk-proj-abcdEFGH1234567890ijklMNOPqrst", "ok", 11, session_id="talk 11"),
        call("write to anna.berg@firma.de", "ok", 12, session_id="talk 12"),
    ]
    assert not read(tmp_path, *lines).left_out
    assert read(tmp_path, *lines, remove=[Private.secrets]).left_out == {Reason.private: ["logs.jsonl:11"]}
    both = read(tmp_path, *lines, remove=[Private.secrets, Private.emails])
    assert both.left_out == {Reason.private: ["logs.jsonl:11", "logs.jsonl:12"]}


def test_each_line_that_is_no_row_is_counted_with_its_reason(tmp_path: Path) -> None:
    cut = call("cut", "an ans", 3)
    cut["response"]["choices"][0]["finish_reason"] = "length"
    logs = read(tmp_path, *DAYS, cut, '{"request": {', {"level": "info"})
    assert logs.left_out == {
        Reason.cut: ["logs.jsonl:11"], Reason.unreadable: ["logs.jsonl:12"], Reason.unknown: ["logs.jsonl:13"],
    }  # fmt: skip
    assert "3 left out: the answer was cut at the limit of tokens (1, logs.jsonl:11)" in logs.notes[0]


def test_logs_without_a_row_say_why(tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"1 left out: the API answered with an error.*takes two"):
        read(tmp_path, {"request": {"messages": []}, "response": {"error": "no"}})


def test_a_batch_is_joined_by_its_ids(tmp_path: Path) -> None:
    request, response = EXPORTS["batch"]
    lonely = {**response, "custom_id": "r2"}
    logs = read(tmp_path, *DAYS, response, lonely, request)
    answers = [request.answers[0]["content"] for request in (*logs.train, *logs.held_out)]
    assert ANSWER in answers
    assert logs.left_out == {Reason.no_request: ["logs.jsonl:12"]}


def test_the_logs_of_five_exports_are_all_read(tmp_path: Path) -> None:
    api_logs.write(tmp_path / "logs.jsonl", 300)
    logs = ApiLogs(ApiLogsConfig(path=str(tmp_path / "logs.jsonl"))).read()
    shapes = {call.shape for request in (*logs.train, *logs.held_out) for call in request.calls}
    assert shapes == {"api", "langfuse", "opentelemetry", "litellm"}
    assert {*logs.left_out} == {Reason.error, Reason.cut}
    assert max(request.call.time or 0 for request in logs.train) <= max(
        request.call.time or 0 for request in logs.held_out
    )


class TestApiLogs(SourceSuite):
    option = "api_logs"
    count = 8

    @pytest.fixture(autouse=True)
    def words(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path_factory.mktemp("logs") / "logs.jsonl"
        file.write_text("".join(f"{json.dumps(line)}\n" for line in DAYS), encoding="utf-8")
        words = [f"data.path={json.dumps(str(file))}", "format.cluster=conversation", "data.learn=last"]
        monkeypatch.setattr(type(self), "overrides", words)
