"""An OpenAI-compatible endpoint on loopback, for tests: it lists models, and answers conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.judge import JudgeStandIn, Reply, _Handler

Completion = Callable[[Mapping[str, Any]], "dict[str, Any] | Reply"]


class EndpointStandIn(JudgeStandIn):
    """Replies to a request with what `complete` makes of it; `models` are the names that it lists."""

    def __init__(self, complete: Completion, models: Sequence[str] = ("tuned",)) -> None:
        super().__init__(lambda _: "")
        self.complete = complete
        self.listing: Reply | None = None
        self.models = models

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Take note of a request and answer it."""
        self.paths.append(path)
        self.headers.append(dict(headers))
        self.requests.append(json.loads(body))
        reply = self.complete(self.requests[-1])
        return reply if isinstance(reply, Reply) else Reply(body=json.dumps(reply).encode())


class _EndpointHandler(_Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        """List the models."""
        owner = self.server.owner
        listing = {"object": "list", "data": [{"id": name, "object": "model"} for name in owner.models]}
        reply = owner.listing or Reply(body=json.dumps(listing).encode())
        self.start(reply.status, reply.headers, len(reply.body))
        self.wfile.write(reply.body)


EndpointStandIn.handler = _EndpointHandler


def completion(
    text: str,
    *,
    prompt_tokens: int | None = None,
    finish: str | None = "stop",
    tokens: Sequence[tuple[str, float]] = (),
) -> dict[str, Any]:
    """Return a chat completion; `tokens` are texts with log-probabilities."""
    entries = [{"token": token, "logprob": log_prob, "bytes": [*token.encode()]} for token, log_prob in tokens]
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": {"content": entries} if entries else None,
    }
    usage = {} if prompt_tokens is None else {"usage": {"prompt_tokens": prompt_tokens}}
    return {"id": "1", "object": "chat.completion", "choices": [choice], **usage}
