"""An OpenAI-compatible chat endpoint on loopback, for tests of judges."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from tests.support.loopback import Handler, Loopback


@dataclass(frozen=True)
class Reply:
    """What the server answers: a status, a body, headers, and the seconds before and while it is sent."""

    status: int = HTTPStatus.OK
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    drip: float = 0.0


def said(text: object) -> Reply:
    """Return a chat completion."""
    body = {"id": "1", "object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": text}}]}
    return Reply(body=json.dumps(body).encode())


Grade = Callable[[str], str | Reply]


def closed_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asked_about(question: str) -> str:
    """Return the answer that a request in our own words asks about."""
    return question.partition("### Answer\n")[2].rpartition("\n\nHow correct")[0]


class JudgeStandIn(Loopback):
    """Replies to each request with what `grade` makes of its text: text, or a whole `Reply`.

    `requests` holds the bodies, `headers` the headers, `busiest` how many requests were under way at once.
    """

    def __init__(self, grade: Grade) -> None:
        self.grade = grade
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start to serve; the address is that of version 1."""
        super().__enter__()
        self.url += "/v1"
        return self

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Take note of a request and grade it."""
        request = json.loads(body)
        with self.lock:
            self.paths.append(path)
            self.headers.append(dict(headers))
            self.requests.append(request)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            reply = self.grade(request["messages"][-1]["content"])
            reply = reply if isinstance(reply, Reply) else said(reply)
            time.sleep(reply.wait)
            return reply
        finally:
            with self.lock:
                self.busy -= 1


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        """Reply."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        reply = self.server.owner.answer(self.path, dict(self.headers), body)
        self.start(reply.status, reply.headers, len(reply.body))
        for start in range(0, len(reply.body), 1 if reply.drip else max(1, len(reply.body))):
            self.wfile.write(reply.body[start : start + (1 if reply.drip else len(reply.body))])
            self.wfile.flush()
            time.sleep(reply.drip)


JudgeStandIn.handler = _Handler
