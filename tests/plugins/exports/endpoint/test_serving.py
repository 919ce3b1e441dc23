"""The endpoint of `serve`, asked by OpenAI's own client: answers, streams, stops, many at once, clients that leave."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from framework import FrameworkError, testing
from framework.api import Prompt
from framework.cli.main import run_command
from framework.testing import EchoModel
from framework_plugins.exports.endpoint import app as app_module
from framework_plugins.exports.endpoint.answerer import BASE, TUNED, Answerer
from framework_plugins.exports.endpoint.app import Access, make_app
from framework_plugins.exports.endpoint.serve_command import LOOPBACK, _listen, _running
from tests.support.endpoint import EndpointStandIn, completion

WORDS = ["word"] * 10
tokens: list[str] = []
"""What the model has written."""


def stream(model: EchoModel, prompt: Prompt, *, max_new_tokens: int, **_: Any) -> Iterator[str]:
    """Repeat the question word by word; the trained model says it twice."""
    words = prompt.messages[-1].content.split() * (1 if model.base else 2)
    for place, word in enumerate(words[:max_new_tokens]):
        tokens.append(word)
        time.sleep(0.001)
        yield f" {word}" if place else word


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EchoModel:
    monkeypatch.setattr(EchoModel, "stream", stream)
    model = EchoModel(testing.plan([], run_dir=tmp_path / "run"))
    tokens.clear()
    return model


@pytest.fixture
def access() -> Access:
    return Access("", LOOPBACK, "")


@pytest.fixture
def url(model: EchoModel, access: Access) -> Iterator[str]:
    with (
        EndpointStandIn(lambda _: completion("from another server")) as other,
        Answerer(model, (BASE, TUNED)) as answerer,
        _listen("127.0.0.1", 0) as listener,
        _running(make_app(answerer, {"file": other.url.removesuffix("/v1")}, access), listener),
    ):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, http_client=None) as client:
        yield client


def ask(client: openai.OpenAI, text: str, model: str = TUNED, **fields: Any) -> Any:
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **{"temperature": 0, **fields}
    )


def test_openais_client_lists_models_and_gets_answers_of_each(client: openai.OpenAI) -> None:
    assert [entry.id for entry in client.models.list()] == ["file", BASE, TUNED]
    for name, text in ((TUNED, "a b a b"), (BASE, "a b"), ("file", "from another server")):
        assert ask(client, "a b", name).choices[0].message.content == text
    reply = ask(client, "a b")
    assert (reply.object, reply.choices[0].finish_reason) == ("chat.completion", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (3, 4, 7)


def test_an_answer_ends_at_the_limit_or_at_a_text(client: openai.OpenAI) -> None:
    cut = ask(client, "a b c", max_tokens=2)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("a b", "length")
    stopped = ask(client, "a b stop here c", stop=["stop here", "never"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("a b ", "stop")
    held = ask(client, "a b stop there", stop="stop here", max_tokens=4)
    assert held.choices[0].message.content == "a b stop there"


def test_a_stream_has_the_same_text_and_its_usage(client: openai.OpenAI) -> None:
    events = [*ask(client, "a b", stream=True, stream_options={"include_usage": True})]
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == "a b a b"
    assert [event.choices[0].finish_reason for event in events[:-1]] == [None] * 5 + ["stop"]
    assert events[-1].usage.completion_tokens == 4


def test_tokens_come_with_log_probabilities(client: openai.OpenAI) -> None:
    entries = ask(client, "a b", logprobs=True).choices[0].logprobs.content
    assert [entry.token for entry in entries] == ["a", "b", "a", "b"]
    assert all(entry.logprob < 0 for entry in entries)


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    reply = client.completions.create(model=TUNED, prompt="a b", temperature=0)
    assert (reply.object, reply.choices[0].text) == ("text_completion", "")
    with pytest.raises(openai.BadRequestError, match="completions are greedy here"):
        client.completions.create(model=TUNED, prompt="a b", temperature=1)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "tunned"}, "'tunned'"),
        ({"n": 2}, "n=2 is not offered here"),
        ({"max_tokens": 0}, "max_tokens=0 must be a number from 1"),
        ({"temperature": 3}, "temperature=3 must be a number from 0 to 2"),
        ({"logprobs": True, "stream": True}, "logprobs are not offered with stream=true"),
        ({"messages": []}, "messages must be a list"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not text"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "end with a user"),
        ({"stop": [1]}, "stop="),
    ],
)
def test_what_is_wrong_or_not_offered_is_refused(client: openai.OpenAI, fields: dict[str, Any], error: str) -> None:
    request = {"model": TUNED, "messages": [{"role": "user", "content": "a"}], **fields}
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=re.escape(error)):
        client.chat.completions.create(**request)
    assert ask(client, "a b").choices[0].message.content == "a b a b"


def test_many_at_once_get_their_own_answers(client: openai.OpenAI) -> None:
    names = [TUNED, BASE, TUNED, "file"]

    def one(number: int) -> bool:
        name, text = names[number % 4], f"question {number}"
        expected = {TUNED: f"{text} {text}", BASE: text, "file": "from another server"}[name]
        reply = ask(client, text, name, stream=number % 3 == 0)
        pieces = [event.choices[0].delta.content or "" for event in reply] if number % 3 == 0 and name != "file" else []
        return name == "file" or (("".join(pieces) if pieces else reply.choices[0].message.content) == expected)

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(one, range(60)))


def test_an_answer_ends_when_its_client_leaves(client: openai.OpenAI) -> None:
    events = ask(client, " ".join(WORDS * 300), stream=True, max_tokens=6000)
    next(events)
    events.close()
    assert ask(client, "a").choices[0].message.content == "a a"
    time.sleep(0.2)
    assert len(tokens) < 2000


def test_others_wait_until_the_endpoint_has_checked_itself(url: str, access: Access) -> None:
    access.checking = "own"
    reply = httpx.get(f"{url}/models")
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert httpx.get(url.replace("/v1", "/health")).json() == {"status": "checking"}
    assert httpx.get(f"{url}/models", headers={"Authorization": "Bearer own"}).status_code == 200
    access.checking = ""
    assert httpx.get(url.replace("/v1", "/health")).json() == {"status": "ok"}


def test_a_key_is_needed_if_one_is_set(url: str, access: Access) -> None:
    access.key = "secret"
    assert httpx.get(f"{url}/models").status_code == 401
    with (
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        ask(client, "a")
    with openai.OpenAI(base_url=url, api_key="secret", max_retries=0) as client:
        assert ask(client, "a").choices[0].message.content == "a a"


def test_a_web_page_in_a_browser_here_gets_nothing(url: str) -> None:
    body = b'{"model": "tuned", "messages": [{"role": "user", "content": "a"}]}'
    chat = f"{url}/chat/completions"
    assert httpx.post(chat, content=body, headers={"Content-Type": "text/plain"}).status_code == 415
    assert httpx.get(f"{url}/models", headers={"Host": "rebound.example"}).status_code == 400
    json_type = {"Content-Type": "application/json"}
    assert httpx.post(chat, content=b"[", headers=json_type).status_code == 400


def test_a_long_request_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_BODY_BYTES", 100)
    reply = httpx.post(f"{url}/chat/completions", json={"model": TUNED, "messages": ["a" * 200]})
    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from elsewhere: set a key, --key-env NAME"),  # noqa: S104
        (["--port", "99999"], "--port 99999 must be a number"),
        (["--key-env", "NO_SUCH"], "--key-env NO_SUCH: the environment has no such variable"),
        ([], "none"),
    ],
)
def test_words_that_are_wrong_are_named(words: list[str], error: str) -> None:
    with pytest.raises(FrameworkError, match=error):
        run_command("serve", ["none", *words])


def test_a_port_that_is_taken_is_named() -> None:
    with (
        _listen("127.0.0.1", 0) as listener,
        pytest.raises(FrameworkError, match="--port 0 takes any that is free"),
        _listen("127.0.0.1", listener.getsockname()[1]),
    ):
        pass
