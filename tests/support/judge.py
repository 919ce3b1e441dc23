"""An OpenAI-compatible chat endpoint on loopback, for tests of judges."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


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


class JudgeStandIn:
    """Replies to each request with what `grade` makes of its text: text, or a whole `Reply`.

    `requests` holds the bodies, `headers` the headers, `busiest` how many requests were under way at once.
    """

    def __init__(self, grade: Grade) -> None:
        self.grade = grade
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start to serve on a free port."""
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop to serve and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, judge: JudgeStandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.judge = judge

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Reply."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        reply = self.server.judge.answer(self.path, dict(self.headers), body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        for start in range(0, len(reply.body), 1 if reply.drip else max(1, len(reply.body))):
            self.wfile.write(reply.body[start : start + (1 if reply.drip else len(reply.body))])
            self.wfile.flush()
            time.sleep(reply.drip)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Say nothing."""
