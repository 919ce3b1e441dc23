"""`parity` against an endpoint in this process, with the echo backend: what it says, its exit codes, its errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api import Scored
from framework.api.training import TokenRow
from framework.cli.main import run_command
from framework.run import pipeline
from framework.testing import EchoModel
from framework_plugins.lib import chat_endpoint
from tests.support.endpoint import EndpointStandIn, completion
from tests.support.judge import Reply, closed_port

Served = Callable[[str], str]


def learned_answer(question: str) -> str:
    return f"answer to {question} is yes"


def log_prob(word: str, expected: str) -> float:
    return -0.1 if word == expected else -5.0


def score(model: EchoModel, rows: Sequence[TokenRow]) -> list[Scored]:
    """Expect what was learned, or as the base the question."""
    scored = []
    for row in rows:
        prompt = [token for token, label in zip(row.input_ids, row.labels, strict=True) if label == row.IGNORE]
        question = model.decode(prompt).removesuffix(" <stop>").rpartition("<stop> ")[2]
        text = f"{question if model.base else learned_answer(question)} <stop>"
        expected = [*model.tokenize(text), *[0] * len(row.learned)][: len(row.learned)]
        pairs = zip(row.learned, expected, strict=True)
        scored.append(Scored([-0.1 if token == best else -5.0 for token, best in pairs], expected))
    return scored


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that learned an answer to 40 questions."""
    folder = tmp_path_factory.mktemp("parity")
    rows = ({"prompt": f"Question {n} of this run", "completion": learned_answer(str(n))} for n in range(40))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [f"data.path={folder / 'rows.jsonl'}", "data=local_file", "data.validation_split=0.5", "audit=[]"]
    plan = testing.plan(
        [*words, "exporter=[]", "metric=[]", "evaluator=[]", "objective=train_loss"], run_dir=folder / "run"
    )
    pipeline.run(plan)
    return plan.run_dir


@pytest.fixture(autouse=True)
def expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EchoModel, "score", score)
    monkeypatch.setattr(chat_endpoint, "BACKOFF_SECONDS", 0.01)


def serve(
    answer: Served, expected: Served, *, extra: int = 0, finish: str = "stop", more: str = ""
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return an endpoint that answers with `answer`, and finds likely what `expected` says."""

    def complete(request: Mapping[str, Any]) -> dict[str, Any]:
        messages = request["messages"]
        question = messages[-1]["content"]
        words = (answer(question) + more).split()
        likely = [*expected(question).split(), *["<stop>"] * len(words)]
        tokens = [(f" {word}", log_prob(word, best)) for word, best in zip(words, likely, strict=False)]
        count = sum(len(message["content"].split()) + 1 for message in messages) + extra
        given = tokens if request.get("logprobs") else []
        return completion(" ".join(words), prompt_tokens=count, finish=finish, tokens=given)

    return complete


def base(question: str) -> str:
    return question


def other(question: str) -> str:
    return " ".join(reversed(question.split())) + " and so on and so forth"


CASES: Mapping[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], set[str]]] = {
    "trained": (serve(learned_answer, learned_answer), set()),
    "base": (serve(base, base), {"base"}),
    "other": (serve(other, other), {"other"}),
    "lost turn": (serve(learned_answer, learned_answer, extra=-3), {"template"}),
    "stop": (serve(learned_answer, learned_answer, finish="length", more=" and then some more"), {"stop"}),
}


@pytest.mark.parametrize("log_probs", [True, False], ids=["logprobs", "texts"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_served_is_named(
    run: Path,
    case: str,
    log_probs: bool,  # noqa: FBT001 - a parameter
    capsys: pytest.CaptureFixture[str],
) -> None:
    complete, outcomes = CASES[case]
    with EndpointStandIn(complete) as server:
        words = [server.url, str(run), "--json", *([] if log_probs else ["--no-logprobs"])]
        code = run_command("parity", words)
    result = json.loads(capsys.readouterr().out)
    assert (set(result["outcomes"]), code) == (outcomes, 3 if outcomes else 0)
    assert result["log_probs"] is log_probs
    assert result["questions"] <= 12


def test_fail_on_chooses_what_is_a_failure(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EndpointStandIn(CASES["lost turn"][0]) as server:
        assert run_command("parity", [server.url, str(run), "--fail-on", "base,other"]) == 0
        assert run_command("parity", [server.url, str(run), "--fail-on=template"]) == 3
    assert "model tuned: the trained model\n" in (text := capsys.readouterr().out)
    assert "template: prompts have -3 tokens" in text


def test_answers_that_change_are_sampled(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turn = iter(range(1000))
    complete = serve(lambda text: f"{learned_answer(text)} {'really' if next(turn) % 2 else 'truly'}", learned_answer)
    with EndpointStandIn(complete) as server:
        run_command("parity", [server.url, str(run), "--json", "--no-logprobs"])
    assert "sampling" in json.loads(capsys.readouterr().out)["outcomes"]


def test_a_server_that_is_busy_is_waited_for(run: Path) -> None:
    turn = iter(range(1000))
    honest = CASES["trained"][0]

    def complete(request: Mapping[str, Any]) -> dict[str, Any] | Reply:
        return honest(request) if next(turn) % 2 else Reply(429, b"busy", {"Retry-After": "0"})

    with EndpointStandIn(complete) as server:
        assert run_command("parity", [server.url, str(run)]) == 0


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(401, b"no key"), "did not reply: HTTP 401 Unauthorized: no key"),
        (Reply(body=b"<html>hello</html>"), "did not reply: the reply is not JSON: <html>hello</html>"),
        (Reply(302, headers={"Location": "http://elsewhere.invalid/"}), "did not reply: HTTP 302: redirects are not"),
        (Reply(body=json.dumps(completion("a", finish=None)).encode()), "did not reply: half an answer"),
        (Reply(body=json.dumps(completion("a b c", tokens=[("a", -1)])).encode()), "logprobs are of 1 of 5 bytes"),
        (Reply(400, b"logprobs are not supported"), "did not reply: HTTP 400 Bad Request: logprobs are not supported"),
    ],
    ids=["key", "html", "redirect", "half", "truncated", "refused"],
)
def test_a_reply_that_is_no_answer_is_one_line(run: Path, reply: Reply, error: str) -> None:
    with EndpointStandIn(lambda _: reply) as server, pytest.raises(FrameworkError, match=error) as raised:
        run_command("parity", [server.url, str(run)])
    assert "\n" not in str(raised.value)


def test_a_model_is_chosen_among_those_there(run: Path) -> None:
    with EndpointStandIn(CASES["trained"][0], models=("base", "tuned")) as server:
        with pytest.raises(FrameworkError, match="has 2 models: --model NAME, of "):
            run_command("parity", [server.url, str(run)])
        with pytest.raises(FrameworkError, match=r"--model: .*'tunned'"):
            run_command("parity", [server.url, str(run), "--model", "tunned"])
        assert run_command("parity", [server.url, str(run), "--model", "tuned"]) == 0
    assert {request["model"] for request in server.requests} == {"tuned"}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["localhost:8000", "RUN"], "localhost:8000 is not the address of an endpoint"),
        (["http://127.0.0.1:1", "RUN", "--gguf", "no.gguf"], "the file does not exist"),
        (["http://127.0.0.1:1", "RUN", "--fail-on", "bas"], "Did you mean 'base'"),
        (["http://127.0.0.1:1", "RUN", "--questions", "1"], "--questions 1 must be at least 4"),
        (["http://127.0.0.1:1", "RUN", "--key-env", "NO_SUCH"], "--key-env NO_SUCH: the environment has no such"),
        (["http://127.0.0.1:1", "none"], "none"),
    ],
)
def test_words_that_are_wrong_are_named(run: Path, words: Sequence[str], error: str) -> None:
    with pytest.raises(FrameworkError, match=error):
        run_command("parity", [str(run) if word == "RUN" else word for word in words])


def test_an_endpoint_that_is_down_is_named(run: Path) -> None:
    with pytest.raises(FrameworkError, match=r"http://127.0.0.1:\d+ did not reply: ConnectError"):
        run_command("parity", [f"http://127.0.0.1:{closed_port()}/v1", str(run)])
