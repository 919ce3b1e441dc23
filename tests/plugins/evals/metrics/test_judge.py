"""The judge against a server on loopback: grades, nonsense, a judge that is down; and where its key goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from framework import testing
from framework.api import records
from framework.api.records import EvalResult, Outcome, Report, Scores
from framework.api.schema import Stage
from framework.run import pipeline
from framework_plugins.evals.config import JudgeConfig
from framework_plugins.evals.metrics.judge import Judge
from tests.support.judge import JudgeStandIn, Reply, asked_about, closed_port, said
from tests.support.judged import answers, judged

KEY = "correct-horse-battery-staple-31415"


def test_grades_come_in_the_order_of_the_answers() -> None:
    scores, server = judged(
        lambda text: {"Lima": "10", "Quito": "1", "Lima?": "7"}[asked_about(text)], "Lima", "Quito", "Lima?"
    )
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
    assert server.requests[0] == {
        "model": "tiny",
        "temperature": 0,
        "max_tokens": 4,
        "messages": [{"role": "user", "content": "Lima"}],
    }
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
    told = "did not reply with one number from 1 to 10, but 'I like it' to the answer 'Quito'"
    assert note.endswith(f"{told}: 2 of 3 answers have no score")


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
    assert "did not reply (the reply is not " in scores.notes[0]
    assert scores.notes[0].endswith("1 of 1 answers have no score")


@pytest.mark.parametrize("content", [None, [{"type": "text", "text": "5"}], 5])
def test_a_completion_without_text_is_no_grade(content: object) -> None:
    scores, _ = judged(lambda _: said(content), "Lima")
    assert scores.items == [None]
    assert "but '' to the answer 'Lima'" in scores.notes[0]


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
    judge.append("metric.judge.retries=0")
    words = ["data=local_file", f"data.path={write_rows(rows)}", "metric=[judge,exact_match]", "logger=[console]"]
    plan = testing.plan([*words, *judge], run_dir=tmp_path / "run")
    report = pipeline.run(plan)
    assert report is not None
    assert "judge" not in report.metrics
    assert report.metrics["exact_match"].after is not None
    assert records.load(Report, plan.run_dir / "report.json").metrics.keys() == report.metrics.keys()
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("warning: metric 'judge': tiny at http://127.0.0.1:") == 1  # of both evaluations


def compared(judge: Callable[[str, str], str], pairs: list[tuple[str, str]]) -> tuple[Scores, int]:
    """Let a judge compare answers of a base and of a trained model; it is given what is at A and at B."""

    def reply(text: str) -> str:
        first, _, second = text.partition("### Answer A\n")[2].partition("\n\n### Answer B\n")
        return judge(first, second.partition("\n\nWhich answer")[0])

    with JudgeStandIn(reply) as server:
        metric = Judge(JudgeConfig(server.url, "tiny", compare=True, retries=0))
        assert metric.compares
        before, after = (answers(*part) for part in zip(*pairs, strict=True))
        return metric.compare(before, after), len(server.requests)


def test_pairs_are_compared_in_both_orders() -> None:
    pairs = [("Quito", "Lima"), ("Lima", "Quito"), ("Cusco", "Quito"), ("Lima", "Lima")]
    scores, requests = compared(lambda a, b: "T" if "Lima" not in {a, b} else "A" if a == "Lima" else "B", pairs)
    assert scores == Scores([1.0, 0.0, 0.5, 0.5])
    assert requests == 4  # three pairs; the first two are one pair, and equal answers are not asked about


def test_a_judge_that_goes_by_the_place_prefers_nobody_and_is_reported() -> None:
    scores, _ = compared(lambda _a, _b: "A", [("Quito", "Lima"), ("Lima", "Cusco")])
    assert scores.items == [0.5, 0.5]
    assert scores.notes == ["2 of 2 pairs count as a tie: the judge prefers the same place in both orders"]


def test_a_comparison_without_a_letter_has_no_score() -> None:
    scores, _ = compared(
        lambda a, _b: "Both A and B" if a == "Lima" else "<think>A or B?</think>B", [("Quito", "Lima")]
    )
    assert scores.items == [None]
    assert scores.notes == ["tiny compared no answers: 1 of 1 answers have no score"]


def test_a_run_has_the_share_of_prompts_that_the_trained_model_wins(tmp_path: Path, data_file: Path) -> None:
    """The echo model says the prompt before, and the true answer afterwards."""

    def reply(text: str) -> str:
        if "### Answer A" not in text:
            return "5"
        first = text.partition("### Answer A\n")[2].partition("\n\n### Answer B\n")[0]
        return "A" if first.startswith("it is") else "B"

    with JudgeStandIn(reply) as server:
        words = ["data=local_file", f"data.path={data_file}", f"data.prompts_path={data_file}", "audit=[]"]
        judge = [f"metric.judge.base_url={server.url}", "metric.judge.model=tiny", "metric.judge.compare=true"]
        plan = testing.plan([*words, "metric=[judge]", *judge, "evaluator=[prompts]"], run_dir=tmp_path / "run")
        report = pipeline.run(plan)
    assert report is not None
    wins = report.metrics["judge_wins"]
    assert (wins.before, wins.after, wins.primary, wins.pairs) == (
        0.5,
        0.95,
        True,
        20,
    )  # two rows are held out, and answered as before
    assert wins.outcome is Outcome.better
    assert report.verdict is not None
    assert report.verdict.lines[0].startswith("gained: yes. judge prefers 95% of the trained model's answers on 20 ")
